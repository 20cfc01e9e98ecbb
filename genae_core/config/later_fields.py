"""Fields that a config got after files of it were stored.

Run keys and cache keys are hashes over a config, and a resume compares it with the stored one. A
field that is added later is therefore left out while it has its default value: files and keys stay
as they were before it.
"""

import dataclasses
from typing import Any, TypeVar

T = TypeVar("T")
LATER = "left out while it has its default value"


def later_field(default: T) -> T:
    """The default of a config's field that is younger than stored configs.

    Args:
        default: The value that means what configs without the field mean.

    Returns:
        What a dataclass takes as the field's default.
    """
    value: Any = dataclasses.field(default=default, metadata={LATER: True})
    result: T = value
    return result


def stored_fields(config: Any) -> tuple["dataclasses.Field[Any]", ...]:
    """The fields of a config that are part of its files and keys."""
    return tuple(
        field
        for field in dataclasses.fields(config)
        if not (LATER in field.metadata and getattr(config, field.name) == field.default)
    )
