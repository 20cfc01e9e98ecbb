"""Checks of what a user gave: each raises a ValueError that says the rule and the value."""

import math


def require(rule: bool, message: str, **values: object) -> None:
    """Raise ValueError(`message`, got name=value ...) unless the rule holds."""
    if not rule:
        got = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise ValueError(f"{message}, got {got}")


def require_positive_int(**values: object) -> None:
    """Raise ValueError unless each value is an int >= 1 (a bool is not)."""
    for name, value in values.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        require(whole and value >= 1, f"{name} must be a whole number >= 1", **{name: value})  # type: ignore[operator]


def require_int(**values: object) -> None:
    """Raise ValueError unless each value is an int (a bool is not)."""
    for name, value in values.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        require(whole, f"{name} must be a whole number", **{name: value})


def require_finite(low: float, **values: object) -> None:
    """Raise ValueError unless each value is a finite number >= low."""
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        holds = number and math.isfinite(value) and value >= low  # type: ignore[arg-type,operator]
        require(holds, f"{name} must be a finite number >= {low:g}", **{name: value})
