"""The check that the values in a file have the types of a config's fields."""

import dataclasses
import functools
import types
import typing
from typing import Any


def check_types(kind: type, values: dict[str, Any]) -> None:
    """Raise ValueError unless every value fits the annotation of its field.

    A field whose annotation is a Protocol takes any config with the protocol's members.
    Primitives, literals, tuples, configs and unions of these are checked; other annotations are
    not.
    """
    hints = _hints(kind)
    for name, value in values.items():
        if name in hints and not _fits(value, hints[name]):
            raise ValueError(f"{name} must be {_text(hints[name])}, got {name}={value!r:.200}")


def check_parts(config: Any) -> None:
    """Check that the configs in a config have what their interfaces demand.

    Args:
        config: A config, whose own fields and those of its parts are checked.

    Raises:
        ValueError: A part is no frozen dataclass, lacks an attribute, or is a class instead of a
            config; or several parts are in no tuple. The message names the part.
    """
    kind: Any = type(config)
    hints = _hints(kind)
    for field in dataclasses.fields(kind):
        value = getattr(config, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if field.name in hints:
                _check_part(f"{kind.__name__}.{field.name}", part, hints[field.name])
            if dataclasses.is_dataclass(part) and not isinstance(part, type):
                check_parts(part)


def check_members(name: str, value: Any, protocol: Any) -> None:
    """Raise ValueError if a value lacks an attribute that its interface has.

    Args:
        name: What the value is, for the message.
        value: An object of genae's or of the user's own class.
        protocol: The interface, a Protocol.
    """
    missing = sorted(one for one in _members(protocol) if not hasattr(value, one))
    if missing:
        raise ValueError(
            f"{name}: {type(value).__name__} has no {', '.join(missing)}, which every "
            f"{protocol.__name__} has; {protocol.__module__} explains it"
        )


def _check_part(name: str, value: Any, hint: Any) -> None:
    """Raise ValueError if a value whose annotation is a Protocol lacks what the protocol has."""
    hints = [one for one in typing.get_args(hint) or (hint,) if one is not Ellipsis]
    protocols = [one for one in hints if getattr(one, "_is_protocol", False)]
    if not protocols:
        return
    if isinstance(value, type):
        raise ValueError(f"{name}: {value.__name__} is a class: write {value.__name__}(...)")
    if isinstance(value, list | set) and typing.get_origin(hint) is tuple:
        raise ValueError(f"{name} must be a tuple: write (...,) around its configs, got {value}")
    if any(_fits(value, one) for one in hints):
        return
    kind, (protocol, *_) = type(value), protocols
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise ValueError(
            f"{name}: {kind.__name__} must be a frozen dataclass: put "
            '@genae_core.register("a_name_of_your_own") and @dataclass(frozen=True, kw_only=True) '
            "above it"
        )
    check_members(name, value, protocol)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except (NameError, TypeError):
        return {}  # The annotations name something that is not visible from here.


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and _fits_items(value, arguments)
    if origin is typing.Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if hint is Any or not isinstance(hint, type):  # Any is a class
        return True
    if hint in (int, float):
        number = (int, float) if hint is float else int
        return isinstance(value, number) and not isinstance(value, bool)
    if getattr(hint, "_is_protocol", False):
        return dataclasses.is_dataclass(value) and _members(hint) <= _members(type(value))
    return isinstance(value, hint)


def _fits_items(value: tuple[Any, ...], hints: tuple[Any, ...]) -> bool:
    if len(hints) == 2 and hints[1] is Ellipsis:
        return all(_fits(item, hints[0]) for item in value)
    return len(value) == len(hints) and all(map(_fits, value, hints))


def _members(kind: type) -> set[str]:
    """The public attributes and annotated fields of a class and of its bases."""
    names: set[str] = set()
    for base in kind.__mro__[:-1]:
        names |= set(vars(base)) | set(vars(base).get("__annotations__", {}))
    return {name for name in names if not name.startswith("_")}


def _text(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
