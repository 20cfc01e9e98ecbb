"""What a sweep that runs until it is settled has decided, as its folder and its page hold it."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from genae_core.data import sealed
from genae_core.report.formatting import coordinate_words, decimals

SETTLED = "settled.json"  # in the sweep's folder, and in its summary run
IS_SETTLED = "settled"  # the tag of the summary run of a sweep that has a decision: yes or no

QuestionName = Literal["best-cell", "best-step", "family-order"]
Label = Callable[[str], str]  # the words for a cell's key


@dataclass
class Decision:
    """What is decided after a round, as settled.json holds it.

    An alternative that is eliminated has the number of seeds after which it was, and the interval
    of its mean less the leader's of that round. A cell has the reason instead if its trial failed.

    Attributes:
        confidence: The confidence that was asked for.
        indifference: The difference that does not matter.
        settled: Whether the question is decided.
        over: Whether no round is left, because it is decided or the last round has ended.
        leader: The cell with the lowest mean, as cell_key writes it; None for "best-step".
        seeds: The number of seeds of the cells that are left.
        trials: The number of trials until here.
        rivals: The cells that are not certainly worse, for "best-cell".
        eliminated: The cells that were eliminated or have failed.
        question: What was asked.
        intervals: By rival, the interval of its mean less the leader's after the last round.
        steps: For "best-step", by cell: the "leader" and the "rivals" among the steps of its first
            chain, "eliminated" and "intervals" of the others, the number of "seeds", whether it is
            "settled", and whether the chain "helps": yes, no or open.
        order: For "family-order", the families in the order of the lowest FCDs of their cells.
        leaders: By family, its cell with the lowest mean.
        undecided: The pairs of families whose order is open.
        alike: The pairs of families that differ by less than the indifference.
        apart: The pairs whose order is decided, each with the "better" and the "worse" family, the
            number of "seeds", and the interval by which the closest cell of the worse one is
            behind the best cell of the better one.
        earlier: The decision before seeds were added by hand, if it was made again with them.
        added: The trainings that were added since, if they are not counted.
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
    question: QuestionName = "best-cell"
    intervals: dict[str, dict[str, float]] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    leaders: dict[str, str] = field(default_factory=dict)
    undecided: list[list[str]] = field(default_factory=list)
    alike: list[list[str]] = field(default_factory=list)
    apart: list[dict[str, Any]] = field(default_factory=list)
    earlier: dict[str, Any] = field(default_factory=dict)
    added: int = 0


def read_decision(folder: Path) -> Decision | None:
    """The decision in a sweep's folder; None if there is none, or its file is damaged."""
    try:
        return parse_decision((folder / SETTLED).read_bytes())
    except OSError:
        return None


def parse_decision(text: bytes) -> Decision | None:
    """The decision that a settled.json holds; None if it is damaged."""
    try:
        return Decision(**sealed.from_text(text, SETTLED))
    except (ValueError, TypeError):
        return None


def decision_lines(decision: Decision, label: Label) -> list[str]:
    """The decision, and what was eliminated, in lines for people."""
    lines = describe_decision(decision, label).splitlines()
    lines += describe_eliminations(decision, label)
    if decision.earlier:
        earlier = describe_decision(Decision(**decision.earlier), label).splitlines()
        lines += [f"before seeds were added, it was {earlier[0]}", *earlier[1:]]
    return lines


def plain_label(cell: str) -> str:
    """The words for a cell's key: the family first, the others by name."""
    return coordinate_words(json.loads(cell))


def describe_decision(decision: Decision, label: Label) -> str:
    """The decision in a line for people, with a line for each cell if it is about steps.

    Args:
        decision: The decision after the last round.
        label: The words for a cell's key.
    """
    if not (decision.leader or decision.steps):
        return "not settled: the cells that were left have all failed"
    sure = f"{100 * decision.confidence:g} % confidence"
    within = f", within {decision.indifference:g}" if _leaves_ties(decision) else ""
    is_settled = f"settled with {sure}{within}:"
    state = is_settled if decision.settled else f"not settled with {sure}: so far"
    describe = {
        "best-cell": _describe_cell,
        "best-step": _describe_steps,
        "family-order": _describe_order,
    }[decision.question]
    words = f"{state} {describe(decision, label)}"
    if not decision.added:
        return words
    first, *rest = words.splitlines()
    later = (
        f"; {decision.added} trainings that were added later are not counted, because not every "
        "cell has them"
    )
    return "\n".join([f"{first}{later}", *rest])


def _leaves_ties(decision: Decision) -> bool:
    """Whether alternatives are left that differ by less than the indifference."""
    steps = any(about["rivals"] for about in decision.steps.values())
    return bool(decision.rivals or decision.alike or steps)


def _describe_cell(decision: Decision, label: Label) -> str:
    assert decision.leader is not None
    cells = 1 + len(decision.rivals) + len(decision.eliminated)
    about = (
        f"{label(decision.leader)} has the lowest FCD on validation of {cells} cells "
        f"({decision.trials} trials, {decision.seeds} seeds of the cells that were left)"
    )
    if not decision.rivals:
        return about
    near = ", ".join(label(cell) for cell in decision.rivals)
    return f"{about}; {'about as good' if decision.settled else 'may be as good'}: {near}"


def _describe_steps(decision: Decision, label: Label) -> str:
    cells = {
        cell: about
        for cell, about in decision.steps.items()
        if "failed" not in decision.eliminated.get(cell, {})
    }
    decided = sum(about["settled"] for about in cells.values())
    helps = Counter(about["helps"] for about in cells.values())
    lines = [
        "the step with the lowest mean FCD on validation over the seeds is decided in "
        f"{decided} of {len(cells)} cells ({decision.trials} trials); does the chain help: yes in "
        f"{helps['yes']}, no in {helps['no']}, not known yet in {helps['open']}"
    ]
    for cell, about in cells.items():
        words = f"{label(cell)}: step {about['leader']}"
        if about["rivals"]:
            near = "about as good" if about["settled"] else "may be as good"
            words += f" ({near}: {', '.join(map(str, about['rivals']))})"
        verdict = HELPS[about["helps"]]
        if about["helps"] == "no" and about["leader"] > 0:
            verdict = f"the chain helps by less than {decision.indifference:g}"
        lines.append(f"{words}, and {verdict} ({about['seeds']} seeds)")
    return "\n".join(lines)


HELPS = {
    "yes": "the chain helps",
    "no": "the chain does not help",
    "open": "whether the chain helps is not known yet",
}


def _describe_order(decision: Decision, label: Label) -> str:
    order = ", ".join(
        f"{place}. {label(decision.leaders[family])}"
        for place, family in enumerate(decision.order, 1)
    )
    words = (
        f"the order of the families by the lowest FCD on validation of their cells is {order} "
        f"({decision.trials} trials, {decision.seeds} seeds of the cells that were left)"
    )
    for pairs, about in ((decision.alike, "about as good"), (decision.undecided, "open")):
        if pairs:
            names = (f"{better} and {worse}" for better, worse in pairs)
            words += f"; {about}: {', '.join(names)}"
    return words


def describe_eliminations(decision: Decision, label: Label) -> list[str]:
    """What was eliminated, after how many seeds and why, as a line for each number of seeds."""
    failed = [label(cell) for cell, about in decision.eliminated.items() if "failed" in about]
    last = [f"left out, because a trial failed: {', '.join(failed)}"] if failed else []
    lines: dict[int, list[str]] = {}
    for cell, about in decision.eliminated.items():
        if "failed" not in about:
            lines.setdefault(about["seeds"], []).append(f"{label(cell)} ({_behind(about)})")
    for cell, steps in decision.steps.items():
        by_seeds: dict[int, list[str]] = {}
        for step, about in steps["eliminated"].items():
            by_seeds.setdefault(about["seeds"], []).append(f"step {step} ({_behind(about)})")
        for seeds, words in by_seeds.items():
            lines.setdefault(seeds, []).append(f"{label(cell)}: {', '.join(words)}")
    for pair in decision.apart:
        behind = f"{pair['worse']} behind {pair['better']} ({_behind(pair)})"
        lines.setdefault(pair["seeds"], []).append(behind)
    worse = [f"certainly worse after {n} seeds: {'; '.join(lines[n])}" for n in sorted(lines)]
    return worse + last


def _behind(about: dict[str, Any]) -> str:
    """By how much an alternative is worse than the leader."""
    difference, low, high = (
        f"{about[name]:.{decimals(about['difference'])}f}"
        for name in ("difference", "low", "high")
    )
    return f"by {difference}: {low} to {high}"
