"""The two steps that a chain stands for, with one name each wherever they are printed."""

import statistics
from collections.abc import Sequence

from genae_core.tracking.mlflow_store import StoredRun

BEST = "fcd_best_step"
RECOMMENDED = "fcd_recommended_step"
RECOMMENDED_IS = (
    "the first step whose FCD on validation images is within one standard error of the lowest"
)
# What stands below everything that names the two steps.
DEFINITION = (
    "best step: the one with the lowest FCD on validation images; recommended step: "
    f"{RECOMMENDED_IS}, which genae sample uses; of several seeds, the median step; all FCDs are "
    "of test images"
)


def best_step(runs: Sequence[StoredRun]) -> float:
    """The step with the lowest FCD on validation; of several seeds the lower median, which is
    always a recorded step."""
    return statistics.median_low(run.scalars[BEST] for run in runs)


def recommended_step(runs: Sequence[StoredRun]) -> float | None:
    """The first step whose FCD on validation is within one standard error of the lowest.

    Of several seeds it is the lower median. None if no run says it, as in earlier versions.
    """
    steps = [run.scalars[RECOMMENDED] for run in runs if RECOMMENDED in run.scalars]
    return statistics.median_low(steps) if steps else None
