"""The first difference between what was stored and what is passed now, in words."""

from typing import Any


def first_difference(before: Any, now: Any, name: str = "") -> str | None:
    """Find the first field in which two JSON values differ.

    Args:
        before: The stored value.
        now: The present value.
        name: The name of the values, to which the names of their fields are appended.

    Returns:
        Words such as "model.latent_dim was 2 and is 3 now"; None if the values are equal.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for field in [*before, *(field for field in now if field not in before)]:
            inner = f"{name}.{field}" if name else str(field)
            if field not in now:
                return f"{inner} was {before[field]!r} and is not named now"
            if field not in before:
                return f"{inner} was not named and is {now[field]!r} now"
            difference = first_difference(before[field], now[field], inner)
            if difference is not None:
                return difference
        return None
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        differences = (first_difference(*pair, f"{name}.{number}") for number, pair in pairs)
        return next((text for text in differences if text is not None), None)
    return None if before == now else f"{name} was {before!r} and is {now!r} now"
