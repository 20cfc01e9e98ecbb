"""The suite "settle": how often the rounds of settling.py decide rightly, and with how few trials,
on generated sweeps whose best cell, best steps and order of families are known."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from genae_core.report.decision import Decision
from genae_core.sweep.settling import rounds_from
from genae_core.sweep.settling_questions import (
    BestCell,
    BestStep,
    FamilyOrder,
    Measured,
    Question,
)

from .rows import Row

SWEEPS, CELLS, CONFIDENCE = 1000, 16, 0.95
GAP = 0.5  # by which the best cell leads, in standard deviations of a seed
SEED_EFFECT = 3.0  # what a seed does to all cells, in the same unit
GRID = 1024  # most seeds of a grid that is compared
STEP_CELLS, STEPS = 4, (0, 1, 2, 5, 10, 20)
FAMILIES, DIMENSIONS = 4, 4  # of the sweeps whose families are ordered
MOST_SWEEPS = 200  # for the steps and the families, which take longer
Values = NDArray[np.float64]


class Settled(NamedTuple):
    """A sweep that has run until its question was settled.

    Attributes:
        wrong: Whether the answer is wrong.
        trials: The number of its trials.
        grid_wrong: By the number of seeds of a grid less one, whether its lowest means are wrong.
    """

    wrong: bool
    trials: int
    grid_wrong: NDArray[np.bool_]


def rows() -> list[Row]:
    """Measure settle_right_* against the confidence and settle_trials_* against a grid.

    The grid is the smallest one, all cells with the same seeds, whose lowest means are wrong no
    more often. Its errors are counted on the same sweeps.
    """
    measured = []
    for kind in NOISES:
        sweeps = [_settle_cells(kind, number) for number in range(SWEEPS)]
        measured += _rows_of(kind, sweeps, CELLS)
    others = min(SWEEPS, MOST_SWEEPS)
    steps = [_settle_steps(number) for number in range(others)]
    families = [_settle_families(number) for number in range(others)]
    measured += _rows_of("steps", steps, STEP_CELLS)
    return measured + _rows_of("families", families, FAMILIES * DIMENSIONS)


def _rows_of(kind: str, sweeps: list[Settled], cells: int) -> list[Row]:
    wrong = float(np.mean([sweep.wrong for sweep in sweeps]))
    trials = float(np.mean([sweep.trials for sweep in sweeps]))
    errors = np.mean([sweep.grid_wrong for sweep in sweeps], axis=0)  # by number of seeds
    enough = np.flatnonzero(errors <= wrong)
    grid = cells * int(enough[0] + 1 if len(enough) else len(errors))
    right = 1 - wrong
    asked, same = "the confidence asked", "a grid that errs as rarely"
    return [
        Row(name=f"settle_right_{kind}", value=right, unit=f"of {len(sweeps):,} sweeps",
            baseline=asked, baseline_value=CONFIDENCE, ratio=right / CONFIDENCE),
        Row(name=f"settle_trials_{kind}", value=trials, unit=f"trials, {cells} cells",
            baseline=same, baseline_value=grid, ratio=grid / trials),
    ]  # fmt: skip


def _settle_cells(kind: str, number: int) -> Settled:
    """Find the best of some cells, which is the first one."""
    draw = np.random.default_rng([number, list(NOISES).index(kind)])
    means = np.append(0.0, GAP + draw.exponential(2.0, CELLS - 1))
    values = means[:, None] + SEED_EFFECT * draw.normal(size=GRID) + NOISES[kind](draw)
    cell, trials = settle(values, CONFIDENCE)
    return Settled(cell != 0, trials, values.cumsum(1).argmin(0) != 0)


def settle(values: Values, confidence: float) -> tuple[int, int]:
    """The cell that the rounds settle on, and the number of trials that they take.

    values: [cells, seeds], with the seeds of the last round or more.
    """
    question = BestCell(Decision(confidence, 0.0))
    trials = run_rounds(
        question, lambda cell, seed: Measured(values[int(cell), seed]), len(values)
    )
    return int(question.decision.leader or 0), trials


def run_rounds(question: Question, measure: Callable[[str, int], Measured], cells: int) -> int:
    """Run the rounds until the question is settled, and return the number of trials.

    measure: Gives the result of a cell, which is called "0", "1" and so on, with a seed.
    """
    results: dict[str, list[Measured]] = {str(cell): [] for cell in range(cells)}
    trials = 0
    for seeds in rounds_from(1):
        for cell, values in results.items():
            trials += seeds - len(values)
            values += [measure(cell, seed) for seed in range(len(values), seeds)]
        undecided = question.judge_round(results)
        results = {cell: values for cell, values in results.items() if cell in undecided}
        if not results:
            break
    return trials


def settle_steps(values: Values, confidence: float) -> tuple[list[int | None], int]:
    """The best step of each cell, or None if it is open, and the number of trials.

    values: [cells, steps, seeds]
    """
    names = [str(cell) for cell in range(len(values))]
    steps = range(values.shape[1])
    question = BestStep(Decision(confidence, 0.0), dict.fromkeys(names, steps))
    trials = run_rounds(
        question, lambda cell, seed: Measured(0.0, tuple(values[int(cell), :, seed])), len(values)
    )
    decided = (question.decision.steps[name] for name in names)
    return [about["leader"] if about["settled"] else None for about in decided], trials


def _settle_steps(number: int) -> Settled:
    """Find the best step of each cell.

    A curve falls to its best step and then rises. A seed shifts and tilts it, and each step has
    its own noise.
    """
    draw = np.random.default_rng([number, len(NOISES)])
    count = len(STEPS)
    best = draw.integers(count, size=(STEP_CELLS, 1))
    slopes = GAP + draw.exponential(2.0, (STEP_CELLS, 1))
    means = slopes * np.abs(np.arange(count) - best)
    tilts = draw.normal(0, 0.5, (STEP_CELLS, 1, GRID)) * np.arange(count)[:, None]
    shifts = SEED_EFFECT * draw.normal(size=(STEP_CELLS, 1, GRID))
    noise = draw.normal(0, 0.5, (STEP_CELLS, count, GRID))
    values = means[:, :, None] + shifts + tilts + noise
    steps, trials = settle_steps(values, CONFIDENCE)
    pairs = zip(steps, best[:, 0], strict=True)
    wrong = any(step is not None and step != true for step, true in pairs)
    return Settled(wrong, trials, (values.cumsum(2).argmin(1) != best).any(0))


def settle_families(values: Values, confidence: float) -> tuple[list[list[int]], int]:
    """The order of the families in blocks, and the number of trials.

    values: [families, dimensions, seeds]
    """
    families, dimensions, _ = values.shape
    cells = values.reshape(families * dimensions, -1)
    names = {str(cell): str(cell // dimensions) for cell in range(len(cells))}
    question = FamilyOrder(Decision(confidence, 0.0), names)
    trials = run_rounds(question, lambda cell, seed: Measured(cells[int(cell), seed]), len(cells))
    return [[int(family) for family in block] for block in question.blocks], trials


def _settle_families(number: int) -> Settled:
    """Order the families by their best cells: the first one is the best, and so on."""
    draw = np.random.default_rng([number, len(NOISES) + 1])
    lowest = np.cumsum(GAP + draw.exponential(2.0, FAMILIES))
    above = np.append(
        np.zeros((FAMILIES, 1)), draw.exponential(2.0, (FAMILIES, DIMENSIONS - 1)), axis=1
    )
    means = lowest[:, None] + draw.permuted(above, axis=1)
    shape = (FAMILIES, DIMENSIONS, GRID)
    values = means[:, :, None] + SEED_EFFECT * draw.normal(size=GRID) + draw.normal(size=shape)
    blocks, trials = settle_families(values, CONFIDENCE)
    places = [place for place, block in enumerate(blocks) for _ in block]
    order = [family for block in blocks for family in sorted(block)]
    wrong = any(
        places[order.index(a)] > places[order.index(b)] for a in order for b in order if a < b
    )
    lows = values.cumsum(2).min(1)
    return Settled(wrong, trials, (np.diff(lows, axis=0) < 0).any(0))


def _unequal(draw: Generator) -> Values:
    """Standard deviations of 0.3 to 3, by cell."""
    return np.exp(draw.normal(0, 0.6, (CELLS, 1))) * draw.normal(size=(CELLS, GRID))


NOISES: dict[str, Callable[[Generator], Values]] = {
    "equal": lambda draw: draw.normal(size=(CELLS, GRID)),
    "unequal": _unequal,
    "heavy": lambda draw: draw.standard_t(3, (CELLS, GRID)) / np.sqrt(3),
    "skewed": lambda draw: draw.exponential(1.0, (CELLS, GRID)) - 1,
}
