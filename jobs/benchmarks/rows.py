"""The result of a suite of benchmark.py."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """A value beside that of its baseline. A ratio above 1 means that genae is better."""

    name: str
    value: float
    unit: str
    baseline: str
    baseline_value: float
    ratio: float
