"""Frozen dataclasses to plain dicts and JSON and back.

On disk a config names itself under the key "config" by the name that it was registered with. Files
up to version 0.1 have import paths there, which are read as the names that they stand for. Reading
a file imports nothing that the file names, and makes nothing but registered configs.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

from genae_core.config.former_names import FORMER_FIELDS
from genae_core.config.registry import canonical_name, class_of, former_name, name_of

KEY = "config"


def to_dict(config: Any) -> dict[str, Any]:
    """The config as nested dicts, lists and primitives, each config under its name.

    Raises ValueError for a class that is not registered, and so could not be loaded again, and
    TypeError for a value that a config cannot hold.
    """
    fields = {f.name: _to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    return {KEY: name_of(type(config)), **fields}


def from_dict(data: dict[str, Any]) -> Any:
    """The config that `to_dict` gave, checked again as if written by hand.

    Raises ValueError for a name that is not registered, an unknown or missing field, or a value
    that the config itself refuses.
    """
    data = _renamed(data, canonical_name, _current_field)
    name = data[KEY]
    kind = class_of(name)
    values = {field: _from_plain(value) for field, value in data.items() if field != KEY}
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{name} has no field {', '.join(unknown)}; it has {sorted(known)}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None


def canonical(value: Any) -> Any:
    """A config's plain form, or JSON values that hold such, with the names that configs and their
    fields have now. Two files of different versions that say the same are equal in this form."""
    return _mapped(value, canonical_name, _current_field)


def identity(config: Any) -> dict[str, Any]:
    """`to_dict` as version 0.1 wrote it: what run keys and cache keys are hashes over."""
    former: dict[str, Any] = _mapped(to_dict(config), former_name, _former_field)
    return former


def to_json(config: Any) -> str:
    """`to_dict` as JSON text; NaN and infinity are refused."""
    return json.dumps(to_dict(config), indent=2, allow_nan=False)


def from_json(text: str) -> Any:
    """The config that `to_json` gave. Raises ValueError where the text is not one."""
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object, got {type(data).__name__}")
    return from_dict(data)


def strict(value: Any) -> Any:
    """The value as every JSON reader takes it: null where a number is not finite."""
    if isinstance(value, dict):
        return {name: strict(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_strict_json(value: Any) -> str:
    """The value as a file's text, with `strict`'s nulls."""
    return json.dumps(strict(value), indent=1, allow_nan=False) + "\n"


def flatten(config: Any) -> dict[str, str | int | float | bool | None]:
    """Dotted names to primitives, e.g. {"model.latent_dim": 10, "model.prior":
    "NormalPriorConfig"}.

    A config in a field also appears under the field's name as its class's name. Fields keep the
    names that they have in the runs of version 0.1, so that old and new runs can be filtered
    together.
    """
    flat: dict[str, str | int | float | bool | None] = {}

    def visit(name: str, value: Any) -> None:
        if dataclasses.is_dataclass(value):
            if name:
                flat[name] = type(value).__name__
            for field in dataclasses.fields(value):
                known = _former_field(name_of(type(value)), field.name)
                visit(f"{name}.{known}" if name else known, getattr(value, field.name))
        elif isinstance(value, tuple) and any(dataclasses.is_dataclass(item) for item in value):
            for position, item in enumerate(value):
                visit(f"{name}.{position}", item)
        else:
            flat[name] = json.dumps(_to_plain(value)) if isinstance(value, tuple) else value

    visit("", config)
    return flat


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_to_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a config holds primitives, tuples and configs, got {type(value).__name__}")


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return from_dict(value)
    return tuple(_from_plain(item) for item in value) if isinstance(value, list) else value


def _mapped(
    value: Any, config_name: Callable[[str], str], field_name: Callable[[str, str], str]
) -> Any:
    """The JSON value with every config in it renamed, at any depth."""
    if isinstance(value, dict):
        renamed = _renamed(value, config_name, field_name) if KEY in value else value
        return {name: _mapped(v, config_name, field_name) for name, v in renamed.items()}
    if isinstance(value, list):
        return [_mapped(item, config_name, field_name) for item in value]
    return value


def _renamed(
    data: dict[str, Any], config_name: Callable[[str], str], field_name: Callable[[str, str], str]
) -> dict[str, Any]:
    """One config's dict with its own name and its fields' names mapped, in their order."""
    name = data.get(KEY)
    if not isinstance(name, str):
        raise ValueError(f"a config on disk names itself under {KEY!r}, got the keys {list(data)}")
    fields = {field_name(name, field): v for field, v in data.items() if field != KEY}
    return {KEY: config_name(name), **fields}


def _current_field(config: str, field: str) -> str:
    """The field's name now. config: the config's name, or its former import path."""
    former = FORMER_FIELDS.get(canonical_name(config), {})
    return next((now for now, then in former.items() if then == field), field)


def _former_field(config: str, field: str) -> str:
    """The field's name up to version 0.1."""
    return FORMER_FIELDS.get(config, {}).get(field, field)
