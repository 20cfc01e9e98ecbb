"""The parts of a config that are of a user's own classes, and where these are defined."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from genae_core.config.definitions import obstacle, stored_definition
from genae_core.config.registry import definition, name_of


def own_definitions(config: Any) -> dict[str, dict[str, str]]:
    """Where the classes are defined that are in a config and not genae's.

    Args:
        config: An instance of a registered class.

    Returns:
        The definition of each class by its name on disk, as JSON values; empty if all are genae's.
    """
    return {
        name_of(kind): place.to_json()
        for kind in _classes_in(config)
        if (place := definition(kind)) is not None
    }


def describe_changes(config: Any, stored: Any) -> list[str]:
    """What has changed in the code of a config since it was stored, a sentence for each class.

    Args:
        config: The config as it was read.
        stored: What `own_definitions` returned when it was stored; perhaps missing or damaged.

    Returns:
        The sentences; empty if nothing has changed or is known.
    """
    changes = []
    for kind in _classes_in(config):
        now = definition(kind)
        then = None if now is None else stored_definition(stored, name_of(kind))
        if now and then and now.sha256 and then.sha256 not in ("", now.sha256):
            changes.append(
                f"{now.file}, which defines {kind.__qualname__}, has changed since the training: "
                f"its sha256 is {now.sha256[:12]} and was {then.sha256[:12]}"
            )
    return sorted(set(changes))


def describe_obstacles(config: Any) -> list[str]:
    """Why another process will not load a config again, a sentence for each class."""
    sentences = []
    for kind in _classes_in(config):
        place = definition(kind)
        why = None if place is None else obstacle(kind, place)
        if why is not None:
            sentences.append(
                f"what is trained with {kind.__qualname__} can be loaded in this process only: "
                f"{why}. Define it in a .py file that can be imported, to sample and evaluate its "
                "runs later"
            )
    return sorted(set(sentences))


def _classes_in(value: Any) -> Iterator[type]:
    """The class of a config and of each config in it, each once or more often."""
    if isinstance(value, tuple):
        for item in value:
            yield from _classes_in(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield type(value)
        for field in dataclasses.fields(value):
            yield from _classes_in(getattr(value, field.name))
