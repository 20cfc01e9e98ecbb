"""Confidence intervals over seeds."""

import math
import statistics
from collections.abc import Sequence

from scipy.special import stdtrit  # scipy.stats takes half a second to import

Interval = tuple[float, float | None, float | None]  # the mean, and the ends of its interval


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of n values and its 95 % confidence interval by Student's t.

    mean ± t(0.975; n - 1) s / sqrt(n), with s the standard deviation of the values.

    Args:
        values: One value per seed.

    Returns:
        The mean, the lower end and the upper end. A single value has no interval, so both ends
        are None.
    """
    mean, n = statistics.mean(values), len(values)
    if n < 2:
        return mean, None, None
    half = float(stdtrit(n - 1, 0.975)) * statistics.stdev(values) / math.sqrt(n)
    return mean, mean - half, mean + half
