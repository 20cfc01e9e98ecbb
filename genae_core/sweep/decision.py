"""What a sweep that runs until it is settled has decided, in its folder and in words."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genae_core.data import sealed

SETTLED = "settled.json"  # in the sweep's folder


@dataclass
class Decision:
    """What is decided after a round, as settled.json holds it.

    Attributes:
        confidence: The confidence that was asked for.
        indifference: The difference that does not matter.
        settled: Whether the question is decided.
        over: Whether no round is left, because it is decided or the last round has ended.
        leader: The cell with the lowest mean, as cell_key writes it.
        seeds: The number of seeds of the cells that are left.
        trials: The number of trials until here.
        rivals: The cells that are not certainly worse.
        eliminated: By cell, the number of seeds after which it was eliminated, and the interval of
            its mean less the leader's of that round; or the reason why its trial failed.
    """

    confidence: float
    indifference: float
    settled: bool = False
    over: bool = False
    leader: str | None = None
    seeds: int = 0
    trials: int = 0
    rivals: list[str] = field(default_factory=list)
    eliminated: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_decision(folder: Path) -> Decision | None:
    """The decision in a sweep's folder; None if there is none, or its file is damaged."""
    try:
        return Decision(**sealed.read(folder / SETTLED))
    except (OSError, ValueError, TypeError):
        return None


def describe_decision(decision: Decision, label: Callable[[str], str]) -> str:
    """The decision in words for people.

    Args:
        decision: The decision after the last round.
        label: The words for a cell's key.
    """
    if decision.leader is None:
        return "not settled: no round has ended with a cell that has not failed"
    cells = 1 + len(decision.rivals) + len(decision.eliminated)
    about = (
        f"{label(decision.leader)} has the lowest FCD on validation of {cells} cells "
        f"({decision.trials} trials, {decision.seeds} seeds of the cells that were left)"
    )
    sure = f"{100 * decision.confidence:g} % confidence"
    if not decision.settled:
        return f"not settled with {sure}: so far {about}; not certainly worse: " + ", ".join(
            label(cell) for cell in decision.rivals
        )
    if not decision.rivals:
        return f"settled with {sure}: {about}"
    near = ", ".join(label(cell) for cell in decision.rivals)
    within = f"settled with {sure}, within {decision.indifference:g}"
    return f"{within}: {about}; about as good: {near}"
