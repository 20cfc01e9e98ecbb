"""The suite "settle": how often the rounds of settling.py find the best cell, and with how few
trials, on generated sweeps whose best cell is known."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from genae_core.sweep.settling import ROUNDS, judge

from .rows import Row

SWEEPS, CELLS, CONFIDENCE = 1000, 16, 0.95
GAP = 0.5  # by which the best cell leads, in standard deviations of a seed
SEED_EFFECT = 3.0  # what a seed does to all cells, in the same unit
GRID = 1024  # most seeds of a grid that is compared
Values = NDArray[np.float64]


def rows() -> list[Row]:
    """Measure settle_right_* against the confidence and settle_trials_* against a grid.

    The grid is the smallest one, all cells with the same seeds, whose lowest mean is wrong no more
    often. Its errors are counted on the same sweeps.
    """
    measured = []
    for kind in NOISES:
        sweeps = [_settle_and_grid(kind, number) for number in range(SWEEPS)]
        wrong = sum(settled != 0 for settled, _, _ in sweeps) / SWEEPS
        trials = float(np.mean([used for _, used, _ in sweeps]))
        errors = np.mean([grid != 0 for _, _, grid in sweeps], axis=0)  # by number of seeds
        enough = np.flatnonzero(errors <= wrong)
        grid = CELLS * int(enough[0] + 1 if len(enough) else GRID)
        right = 1 - wrong
        asked, same = "the confidence asked", "a grid that errs as rarely"
        measured += [
            Row(name=f"settle_right_{kind}", value=right, unit=f"of {SWEEPS:,} sweeps",
                baseline=asked, baseline_value=CONFIDENCE, ratio=right / CONFIDENCE),
            Row(name=f"settle_trials_{kind}", value=trials, unit=f"trials, {CELLS} cells",
                baseline=same, baseline_value=grid, ratio=grid / trials),
        ]  # fmt: skip
    return measured


def _settle_and_grid(kind: str, number: int) -> tuple[int, int, NDArray[np.int64]]:
    """The settled cell (0 is the best), its trials, and the choice of each size of grid."""
    draw = np.random.default_rng([number, list(NOISES).index(kind)])
    means = np.append(0.0, GAP + draw.exponential(2.0, CELLS - 1))
    values = means[:, None] + SEED_EFFECT * draw.normal(size=GRID) + NOISES[kind](draw)
    sums = values.cumsum(1)
    return *settle(values, CONFIDENCE), sums.argmin(0)


def settle(values: Values, confidence: float) -> tuple[int, int]:
    """The cell that the rounds settle on, and the number of trials that they take.

    values: [cells, seeds], with the seeds of the last round or more.
    """
    alive, trials, before = list(range(len(values))), 0, 0
    for seeds in ROUNDS:
        trials += len(alive) * (seeds - before)
        verdict = judge({str(cell): list(values[cell, :seeds]) for cell in alive}, confidence)
        if verdict.settled:
            break
        alive, before = [int(verdict.leader), *map(int, verdict.rivals)], seeds
    return int(verdict.leader), trials


def _unequal(draw: Generator) -> Values:
    """Standard deviations of 0.3 to 3, by cell."""
    return np.exp(draw.normal(0, 0.6, (CELLS, 1))) * draw.normal(size=(CELLS, GRID))


NOISES: dict[str, Callable[[Generator], Values]] = {
    "equal": lambda draw: draw.normal(size=(CELLS, GRID)),
    "unequal": _unequal,
    "heavy": lambda draw: draw.standard_t(3, (CELLS, GRID)) / np.sqrt(3),
    "skewed": lambda draw: draw.exponential(1.0, (CELLS, GRID)) - 1,
}
