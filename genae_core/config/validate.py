"""Checks of the values that a user passes.

Each check raises a ValueError that states the rule and the value.
"""

import sys


def require(rule: bool, message: str, **values: object) -> None:
    """Raise a ValueError unless a rule holds.

    Args:
        rule: Whether the rule holds.
        message: The rule in words.
        **values: The values that the rule is about, by name.

    Raises:
        ValueError: "<message>, got <name>=<value>, ...".
    """
    if not rule:
        values_text = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise ValueError(f"{message}, got {values_text}")


def require_positive_int(**values: object) -> None:
    """Raise a ValueError unless every value is an int >= 1; a bool is not allowed.

    Args:
        **values: The values by name.

    Raises:
        ValueError: A value breaks the rule; the message names the first one.
    """
    for name, value in values.items():
        is_int = isinstance(value, int) and not isinstance(value, bool)
        require(is_int and value >= 1, f"{name} must be a whole number >= 1", **{name: value})  # type: ignore[operator]


def require_int(**values: object) -> None:
    """Raise a ValueError unless every value is an int; a bool is not allowed.

    Args:
        **values: The values by name.

    Raises:
        ValueError: A value breaks the rule; the message names the first one.
    """
    for name, value in values.items():
        is_int = isinstance(value, int) and not isinstance(value, bool)
        require(is_int, f"{name} must be a whole number", **{name: value})


def require_finite(low: float, **values: object) -> None:
    """Raise a ValueError unless every value is a finite number >= low, and no bool.

    Args:
        low: The smallest allowed value.
        **values: The values by name.

    Raises:
        ValueError: A value breaks the rule; the message names the first one.
    """
    for name, value in values.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        holds = is_number and low <= value <= sys.float_info.max  # type: ignore[operator]
        require(holds, f"{name} must be a finite number >= {low:g}", **{name: value})
