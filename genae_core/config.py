"""Frozen dataclasses to plain dicts and JSON and back.

On disk a config names itself by import path under the key "config"; the path is resolved only
inside `genae_core.`, and only to a dataclass, so reading a file can run nothing else.
"""

import dataclasses
import importlib
import json
import math
from typing import Any

KEY = "config"


def to_dict(config: Any) -> dict[str, Any]:
    """The config as nested dicts, lists and primitives, each dataclass under its import path."""
    kind = type(config)
    fields = {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    return {KEY: f"{kind.__module__}.{kind.__qualname__}", **fields}


def from_dict(data: dict[str, Any]) -> Any:
    """The config that `to_dict` gave, checked again as if written by hand.

    Raises ValueError for a path outside genae_core, an unknown or missing field, or a value that
    the config itself refuses.
    """
    path = data.get(KEY)
    if not isinstance(path, str):
        raise ValueError(f"a config on disk names itself under {KEY!r}, got the keys {list(data)}")
    kind = _resolve(path)
    given = {name: _value(value) for name, value in data.items() if name != KEY}
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := sorted(set(given) - known):
        raise ValueError(f"{path} has no field {', '.join(unknown)}; it has {sorted(known)}")
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from None


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
    """Dotted names to primitives, e.g. {"model.latent_dim": 10, "model.prior": "NormalPrior"}.

    A dataclass field also appears under its own name as the class's name.
    """
    flat: dict[str, str | int | float | bool | None] = {}

    def visit(name: str, value: Any) -> None:
        if isinstance(value, dict):
            if name:
                flat[name] = value[KEY].rsplit(".", 1)[1]
            for key, inner in value.items():
                if key != KEY:
                    visit(f"{name}.{key}" if name else key, inner)
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for position, item in enumerate(value):
                visit(f"{name}.{position}", item)
        else:
            flat[name] = json.dumps(value) if isinstance(value, list) else value

    visit("", to_dict(config))
    return flat


def require(rule: bool, message: str, **values: object) -> None:
    """Raise ValueError(`message`, got name=value ...) unless the rule holds."""
    if not rule:
        got = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise ValueError(f"{message}, got {got}")


def require_positive_int(**values: object) -> None:
    """Raise ValueError unless each value is an int >= 1 (a bool is not)."""
    for name, value in values.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        require(whole and value >= 1, f"{name} must be a whole number >= 1", **{name: value})  # type: ignore[operator]


def require_int(**values: object) -> None:
    """Raise ValueError unless each value is an int (a bool is not)."""
    for name, value in values.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        require(whole, f"{name} must be a whole number", **{name: value})


def require_finite(low: float, **values: object) -> None:
    """Raise ValueError unless each value is a finite number >= low."""
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        holds = number and math.isfinite(value) and value >= low  # type: ignore[arg-type,operator]
        require(holds, f"{name} must be a finite number >= {low:g}", **{name: value})


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a config holds primitives, tuples and configs, got {type(value).__name__}")


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return from_dict(value)
    return tuple(_value(item) for item in value) if isinstance(value, list) else value


def _resolve(path: str) -> type:
    module, _, name = path.rpartition(".")
    if not module.startswith("genae_core."):
        raise ValueError(f"a config on disk must name a class inside genae_core., got {path!r}")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise ValueError(f"no config {path!r} in this version of genae_core") from None
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise ValueError(f"{path!r} is not a config")
    return kind
