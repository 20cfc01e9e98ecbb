"""Conversion of configs, which are frozen dataclasses, to plain dicts and JSON, and back.

On disk, a config has its registered name under the key "config". Files up to version 0.1 have an
import path there, which is read as the name of the same class. Reading a file imports nothing that
the file names, and creates nothing but registered configs.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

from genae_core.config.former_names import FORMER_FIELDS
from genae_core.config.later_fields import stored_fields
from genae_core.config.redaction import redact_values
from genae_core.config.registry import (
    KEY,
    UnknownConfigError,
    canonical_name,
    class_of,
    former_name,
    name_of,
)
from genae_core.config.types import check_types

Choose = Callable[["dataclasses.Field[Any]"], bool]


def to_dict(config: Any) -> dict[str, Any]:
    """The config as nested dicts, lists and primitives, without the passwords of URIs.

    What is read back looks for a missing password in the environment.

    Args:
        config: An instance of a registered class.

    Returns:
        The name under "config", then the fields.

    Raises:
        ValueError: The class of a config is not registered, so it could not be loaded again.
        TypeError: A config cannot hold one of the values.
    """
    values: dict[str, Any] = redact_values(_to_dict(config))
    return values


def from_dict(data: dict[str, Any]) -> Any:
    """The config that `to_dict` wrote. The checks of its constructor run again.

    Args:
        data: A dict that `to_dict` or version 0.1 wrote.

    Returns:
        The config.

    Raises:
        ValueError: A name is not registered; a field is unknown, is missing or has another type;
            or the config itself refuses a value.
    """
    if not isinstance(data, dict):
        raise ValueError(f"a config on disk is a JSON object, got {type(data).__name__}")
    current = _rename(data, canonical_name, _current_field)
    name = current[KEY]
    kind = class_of(name)
    values = {field: _from_plain(value) for field, value in current.items() if field != KEY}
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{name} has no field {', '.join(unknown)}; it has {sorted(known)}")
    check_types(kind, values)
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None


def canonicalize(value: Any) -> Any:
    """Give every config and its fields their present names.

    Two files with the same content are then equal, even if different versions wrote them.

    Args:
        value: JSON values, with configs at any depth.

    Returns:
        A copy of the values with the present names.

    Raises:
        ValueError: The name of a config is not a string.
    """
    return _rename_all(value, canonical_name, _current_field)


def identity(config: Any) -> dict[str, Any]:
    """`to_dict` as version 0.1 wrote it. Run keys and cache keys are hashes over it.

    It holds passwords, so it must not be stored itself. A field that its dataclass does not
    compare (`field(compare=False)`) is left out: it says where something lies, not what it is.

    Args:
        config: An instance of a registered class.

    Returns:
        The former name under "config", then the fields with their former names.

    Raises:
        ValueError: As for `to_dict`.
        TypeError: As for `to_dict`.
    """
    former: dict[str, Any] = _rename_all(
        _to_dict(config, lambda field: field.compare), former_name, _former_field
    )
    return former


def stored_identity(data: dict[str, Any]) -> dict[str, Any]:
    """The `identity` of the config in a file, some of whose classes this program may not know.

    Args:
        data: A dict that `to_dict` or version 0.1 wrote.

    Returns:
        The identity without the passwords, which the file does not hold.

    Raises:
        ValueError: As for `from_dict`, but not for a name that is not registered.
    """
    try:
        return dict(redact_values(identity(from_dict(data))))
    except UnknownConfigError:
        former = _rename(data, former_name, _former_field)
        return {name: _stored_part(value) for name, value in former.items()}


def _stored_part(value: Any) -> Any:
    if isinstance(value, dict):
        return stored_identity(value)
    return [_stored_part(item) for item in value] if isinstance(value, list) else value


def check_readable(config: Any) -> None:
    """Check that a config can be written to disk and read again as it is.

    Args:
        config: The config.

    Raises:
        ValueError: A class is not registered, or a value has a type that a file cannot hold or
            that its field does not have.
    """
    try:
        values = _to_dict(config)
        read = _to_dict(from_dict(values))
    except TypeError as error:
        raise ValueError(f"{type(config).__name__}: {error}") from None
    if read != values:
        raise ValueError(f"read again from a file, {values} would be {read}")


def to_json(config: Any) -> str:
    """The config as JSON text.

    Args:
        config: An instance of a registered class.

    Returns:
        The text of `to_dict`.

    Raises:
        ValueError: A number is not finite; or as for `to_dict`.
        TypeError: As for `to_dict`.
    """
    return json.dumps(to_dict(config), indent=2, allow_nan=False)


def from_json(text: str) -> Any:
    """The config that `to_json` wrote.

    Args:
        text: JSON text.

    Returns:
        The config.

    Raises:
        ValueError: The text is not JSON, or as for `from_dict`.
    """
    try:
        return from_dict(json.loads(text))
    except RecursionError:
        raise ValueError("the JSON text is nested too deeply to be a config") from None


def replace_non_finite(value: Any) -> Any:
    """Replace every number that is not finite by None, because JSON has no such numbers.

    Args:
        value: Dicts, lists, tuples and primitives.

    Returns:
        A copy that every reader of JSON accepts.
    """
    if isinstance(value, dict):
        return {name: replace_non_finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [replace_non_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_strict_json(value: Any) -> str:
    """The text of a JSON file that every reader accepts.

    Args:
        value: Dicts, lists, tuples and primitives.

    Returns:
        The text of `replace_non_finite(value)`, with a newline at its end.
    """
    return json.dumps(replace_non_finite(value), indent=1, allow_nan=False) + "\n"


def flatten(config: Any) -> dict[str, str | int | float | bool | None]:
    """The config as primitives with dotted names.

    An example is {"model.latent_dim": 10, "model.prior": "NormalPriorConfig"}: the value of a
    field that holds a config is the name of the config's class, and the config's own fields
    follow. Fields have the names of version 0.1, so that old and new runs can be filtered
    together.

    Args:
        config: An instance of a registered class.

    Returns:
        The values by dotted name; a tuple of primitives is JSON text.
    """
    flat: dict[str, str | int | float | bool | None] = {}

    def visit(name: str, value: Any) -> None:
        if dataclasses.is_dataclass(value):
            if name:
                flat[name] = type(value).__name__
            for field in stored_fields(value):
                field_name = _former_field(name_of(type(value)), field.name)
                visit(f"{name}.{field_name}" if name else field_name, getattr(value, field.name))
        elif isinstance(value, tuple) and any(dataclasses.is_dataclass(item) for item in value):
            for position, item in enumerate(value):
                visit(f"{name}.{position}", item)
        else:
            plain = redact_values(_to_plain(value))
            flat[name] = json.dumps(plain) if isinstance(value, tuple) else plain

    visit("", config)
    return flat


def _to_dict(config: Any, choose: Choose = lambda _: True) -> dict[str, Any]:
    """The config with the fields that `choose` chooses, at any depth."""
    chosen = [field.name for field in stored_fields(config) if choose(field)]
    fields = {name: _to_plain(getattr(config, name), choose) for name in chosen}
    return {KEY: name_of(type(config)), **fields}


def _to_plain(value: Any, choose: Choose = lambda _: True) -> Any:
    if dataclasses.is_dataclass(value):
        return _to_dict(value, choose)
    if isinstance(value, tuple):
        return [_to_plain(item, choose) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a config holds primitives, tuples and configs, got {type(value).__name__}")


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return from_dict(value)
    return tuple(_from_plain(item) for item in value) if isinstance(value, list) else value


def _rename_all(
    value: Any, config_name: Callable[[str], str], field_name: Callable[[str, str], str]
) -> Any:
    """A copy of a JSON value in which the configs at any depth have other names."""
    if isinstance(value, dict):
        renamed = _rename(value, config_name, field_name) if KEY in value else value
        return {name: _rename_all(v, config_name, field_name) for name, v in renamed.items()}
    if isinstance(value, list):
        return [_rename_all(item, config_name, field_name) for item in value]
    return value


def _rename(
    data: dict[str, Any], config_name: Callable[[str], str], field_name: Callable[[str, str], str]
) -> dict[str, Any]:
    """A copy of one config's dict, in the same order, with other names of it and its fields."""
    name = data.get(KEY)
    if not isinstance(name, str):
        raise ValueError(f"a config on disk has its name under {KEY!r}, got the keys {list(data)}")
    fields = {}
    for field, value in data.items():
        if field == KEY:
            continue
        new_field = field_name(name, field)
        if new_field in fields:
            raise ValueError(f"{name} has the field {new_field} twice, once by its former name")
        fields[new_field] = value
    return {KEY: config_name(name), **fields}


def _current_field(config: str, field: str) -> str:
    """The present name of a field. `config` is the config's name or its former import path."""
    for present, former in FORMER_FIELDS.get(canonical_name(config), {}).items():
        if former == field:
            return present
    return field


def _former_field(config: str, field: str) -> str:
    """The name of a field up to version 0.1."""
    return FORMER_FIELDS.get(config, {}).get(field, field)
