"""What every suite of benchmark.py returns."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison. ratio: above 1 is better than the baseline."""

    name: str
    value: float
    unit: str
    baseline: str
    baseline_value: float
    ratio: float
