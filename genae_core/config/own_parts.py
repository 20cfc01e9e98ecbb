"""The parts of a config that are of a user's own code, and where these are defined."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from genae_core.config.definitions import Definition, obstacle, stored_definition
from genae_core.config.own_functions import functions_in, own_function
from genae_core.config.registry import definition, name_of


class OwnPart(NamedTuple):
    """A class or a function of the user's own code that a config needs.

    Attributes:
        name: Its name on disk.
        code: The class or the function.
        place: Where it was defined.
    """

    name: str
    code: Callable[..., Any]
    place: Definition


def own_definitions(config: Any) -> dict[str, dict[str, str]]:
    """Where the classes and functions are defined that a config needs and that are not genae's.

    Args:
        config: An instance of a registered class.

    Returns:
        The definition of each by its name on disk, as JSON values; empty if all are genae's.
    """
    return {part.name: part.place.to_json() for part in _own_parts(config)}


def describe_changes(config: Any, stored: Any) -> list[str]:
    """What has changed in the code of a config since it was stored, a sentence for each part.

    Args:
        config: The config as it was read.
        stored: What `own_definitions` returned when it was stored; perhaps missing or damaged.

    Returns:
        The sentences; empty if nothing has changed or is known.
    """
    changes = []
    for name, code, now in _own_parts(config):
        then = stored_definition(stored, name)
        if then and now.sha256 and then.sha256 not in ("", now.sha256):
            changes.append(
                f"{now.file}, which defines {code.__qualname__}, has changed since the training: "
                f"its sha256 is {now.sha256[:12]} and was {then.sha256[:12]}"
            )
    return sorted(set(changes))


def describe_obstacles(config: Any) -> list[str]:
    """Why another process will not load a config again, a sentence for each part."""
    sentences = []
    for _, code, place in _own_parts(config):
        why = obstacle(code, place)
        if why is not None:
            sentences.append(
                f"what is trained with {code.__qualname__} can be loaded in this process only: "
                f"{why}. Define it in a .py file that can be imported, to sample and evaluate its "
                "runs later"
            )
    return sorted(set(sentences))


def _own_parts(value: Any) -> Iterator[OwnPart]:
    """What a config and each config in it need of the user's own code, each once or more often."""
    if isinstance(value, tuple):
        for item in value:
            yield from _own_parts(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        place = definition(type(value))
        if place is not None:
            yield OwnPart(name_of(type(value)), type(value), place)
        for name in functions_in(value):
            yield OwnPart(name, *own_function(name))
        for field in dataclasses.fields(value):
            yield from _own_parts(getattr(value, field.name))
