"""Statistics of a finished run that claims are about; None if the run does not have it."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable

from genae_core.tracking.mlflow_store import StoredRun

Statistic = Callable[[StoredRun], float | None]


def improvement(run: StoredRun) -> float | None:
    """The FCD at the best step after step 0, divided by the FCD at step 0."""
    step = best_step(run)
    return None if step is None else run.chain["fcd"][step] / run.chain["fcd"][0]


def best_step(run: StoredRun, last: bool = True) -> int | None:
    """The step after step 0 with the lowest FCD on validation.

    last: Whether it may be the last recorded step.
    """
    curve = run.chain.get("fcd_val", {})
    steps = sorted(step for step in curve if step in run.chain.get("fcd", {}))
    later = steps[1:] if last else steps[1:-1]
    return min(later, key=lambda step: curve[step]) if later and steps[0] == 0 else None


def best_fcd(run: StoredRun) -> float | None:
    """The FCD at the best step after step 0."""
    step = best_step(run)
    return None if step is None else run.chain["fcd"][step]


def harm(run: StoredRun) -> float | None:
    """The FCD at the last step, divided by the FCD at the best step before it."""
    step = best_step(run, last=False)
    return (
        None if step is None else run.chain["fcd"][max(run.chain["fcd"])] / run.chain["fcd"][step]
    )


def at(metric: str, which: Callable[[Iterable[int]], int]) -> Statistic:
    """A metric at the first or the last recorded step: `which` is min or max."""

    def value(run: StoredRun) -> float | None:
        curve = run.chain.get(metric, {})
        return curve[which(curve)] if curve else None

    return value


def approach(run: StoredRun) -> float | None:
    """The distance of z to the codes at the last step, divided by that at step 0."""
    curve = run.chain.get("z_posterior_w2", {})
    return curve[max(curve)] / curve[0] if len(curve) > 1 and curve.get(0, 0) > 0 else None


def scalar(name: str) -> Statistic:
    """A metric without a step."""
    return lambda run: run.scalars.get(name)


def fraction(name: str, other: str) -> Statistic:
    """One metric without a step, divided by another."""

    def value(run: StoredRun) -> float | None:
        whole = run.scalars.get(other, 0.0)
        return run.scalars[name] / whole if name in run.scalars and whole > 0 else None

    return value


def last_over_first(run: StoredRun) -> float | None:
    """The FCD at the last step, divided by the FCD at step 0."""
    curve = run.chain.get("fcd", {})
    return curve[max(curve)] / curve[0] if len(curve) > 1 and curve.get(0, 0) > 0 else None


def log_of(statistic: Statistic) -> Statistic:
    """The natural logarithm of a statistic above 0."""

    def value(run: StoredRun) -> float | None:
        number = statistic(run)
        return None if number is None or number <= 0 else math.log(number)

    return value


def first_of(*statistics_of_run: Statistic) -> Statistic:
    """The first of these statistics that a run has."""

    def value(run: StoredRun) -> float | None:
        values = (statistic(run) for statistic in statistics_of_run)
        return next((one for one in values if one is not None), None)

    return value


def falling_share(metric: str, windows: int = 10) -> Statistic:
    """The share of windows in which a loss is lower than in the window before.

    The points of the curve are cut into windows of equally many points, whose means are compared.

    Args:
        metric: The metric, such as "train/flow".
        windows: The number of windows.
    """

    def value(run: StoredRun) -> float | None:
        curve = [loss for _, loss in sorted(run.chain.get(metric, {}).items())]
        if len(curve) < windows:
            return None
        ends = [len(curve) * k // windows for k in range(windows + 1)]
        means = [statistics.mean(curve[a:b]) for a, b in itertools.pairwise(ends)]
        return statistics.mean(later < former for former, later in itertools.pairwise(means))

    return value
