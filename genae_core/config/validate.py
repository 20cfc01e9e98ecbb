"""Checks of the values that a user passes.

Each check raises a ValueError that states the rule and the value.
"""

import sys

LARGEST_COUNT = 2**31 - 1  # Larger sizes overflow in torch, numpy or Ray.
# Larger numbers of seconds or bytes overflow in clocks and in Ray.
LARGEST_AMOUNT = 1e9


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
    """Raise a ValueError unless every value is an int in 1 .. 2^31 - 1; a bool is not allowed.

    Args:
        **values: The values by name.

    Raises:
        ValueError: A value breaks the rule; the message names the first one.
    """
    for name, value in values.items():
        is_int = isinstance(value, int) and not isinstance(value, bool)
        require(is_int and value >= 1, f"{name} must be a whole number >= 1", **{name: value})  # type: ignore[operator]
        require(value <= LARGEST_COUNT, f"{name} must be <= {LARGEST_COUNT:,}", **{name: value})  # type: ignore[operator]


def require_int(**values: object) -> None:
    """Raise a ValueError unless every value is an int of at most 64 bits; a bool is not allowed.

    Args:
        **values: The values by name.

    Raises:
        ValueError: A value breaks the rule; the message names the first one.
    """
    for name, value in values.items():
        is_int = isinstance(value, int) and not isinstance(value, bool)
        require(is_int, f"{name} must be a whole number", **{name: value})
        require(-(2**63) <= value < 2**63, f"{name} must fit in 64 bits", **{name: value})  # type: ignore[operator]


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


def require_amount(**values: object) -> None:
    """Raise a ValueError unless every value is a number in 0 .. 10^9, and no bool.

    Args:
        **values: Durations, prices or sizes in GiB, by name.

    Raises:
        ValueError: A value breaks the rule; the message names the first one.
    """
    require_finite(0, **values)
    for name, value in values.items():
        require(value <= LARGEST_AMOUNT, f"{name} must be <= {LARGEST_AMOUNT:g}", **{name: value})  # type: ignore[operator]


def require_gpus(**values: object) -> None:
    """Raise a ValueError unless every value is a number of GPUs that Ray can reserve.

    Args:
        **values: Numbers of GPUs by name.

    Raises:
        ValueError: A value is negative, or above 1 and not whole; the message names the first one.
    """
    require_amount(**values)
    for name, value in values.items():
        is_valid = value <= 1 or value % 1 == 0  # type: ignore[operator]
        require(is_valid, f"{name} must be whole if it is above 1", **{name: value})
