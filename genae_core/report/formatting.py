"""TODO"""

import math


def decimals(value: float) -> int:
    """Digits after the point that show a value of any scale: 42.1, 4.21, 0.42, 0.0042.

    >>> [decimals(value) for value in (0, 42.1, 4.21, 0.42, 0.0042)]
    [2, 1, 2, 2, 4]
    """
    if abs(value) >= 10:
        return 1
    return 2 if value == 0 or abs(value) >= 0.1 else 1 - math.floor(math.log10(abs(value)))


def shown(value: object) -> str:
    """A coordinate of a cell, its floats with three figures."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
