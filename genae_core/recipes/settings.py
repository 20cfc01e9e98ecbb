"""The settings of a config by dotted name: list them, parse their values and replace them.

"beta" is a field of the config itself. "critic.dropout" is a field of the config that the field
critic holds.
"""

import dataclasses
from collections.abc import Collection, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from genae_core.config import require

T = TypeVar("T")
WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def settings_of(config: Any, without: Collection[str] = ()) -> dict[str, Any]:
    """The settings of a config that can be written as text, each with its type, by dotted name.

    Args:
        config: A config. The settings of configs in its fields are included.
        without: Names of fields that are left out.
    """
    settings: dict[str, Any] = {}
    kinds = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        if field.name in without:
            continue
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            inner = settings_of(value)
            settings.update({f"{field.name}.{name}": kind for name, kind in inner.items()})
        elif _describe(kinds[field.name]) is not None:
            settings[field.name] = kinds[field.name]
    return settings


def parse_setting(name: str, text: str, kind: Any) -> Any:
    """The value of a setting from its text.

    Args:
        name: The setting's name, for the message.
        text: A number, a word, "true", "false", "None", or several values joined by commas.
        kind: The type of the config's field.

    Raises:
        ValueError: The text is not a value of this type.
    """
    try:
        return _parse(text, kind)
    except ValueError:
        raise ValueError(f"{name} must be {_describe(kind)}, got {name}={text}") from None


def replace_settings(config: T, values: Mapping[str, Any]) -> T:
    """The config with these settings, by dotted name, changed together.

    Raises:
        ValueError: The config has no such setting, or refuses a value.
    """
    if not values:
        return config
    names = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    own: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        first, _, rest = name.partition(".")
        require(first in names, f"{type(config).__name__} has no such setting", setting=name)
        if rest:
            inner.setdefault(first, {})[rest] = value
        else:
            own[first] = value
    for first, changes in inner.items():
        own[first] = replace_settings(getattr(config, first), changes)
    changed: T = dataclasses.replace(config, **own)  # type: ignore[type-var]
    return changed


def _parse(text: str, kind: Any) -> Any:
    """The text as a value of this type. Raises ValueError if it is not one."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if text == "None" and NoneType in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not NoneType)
        return _parse(text, kind)
    if origin is Literal:
        return _choose(text, {str(choice): choice for choice in arguments})
    if origin is tuple:
        return tuple(_parse(part, arguments[0]) for part in text.split(","))
    if kind is bool:
        return _choose(text.lower(), {"true": True, "false": False})
    return kind(text)


def _choose(text: str, choices: Mapping[str, Any]) -> Any:
    if text not in choices:
        raise ValueError(text)
    return choices[text]


def _describe(kind: Any) -> str | None:
    """A type in words; None for a type whose values cannot be written as text."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        others = [_describe(argument) for argument in arguments if argument is not NoneType]
        return f"{others[0]}, or None" if len(others) == 1 and others[0] else None
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        inner = _describe(arguments[0]) if arguments[1:] == (...,) else None
        return f"one or more values joined by commas, each {inner}" if inner else None
    return WORDS.get(kind)
