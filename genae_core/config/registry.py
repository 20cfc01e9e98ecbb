"""The names that config classes have on disk, independent of where the classes lie.

Reading a file looks its names up here and imports nothing because the file says so: what can be
read is what the running program has defined with `register`, and genae's own configs.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable
from typing import TypeVar

from genae_core.config.former_names import FORMER_PATHS

T = TypeVar("T")

# The packages whose modules define genae's own configs.
OWN = ("data", "divergences", "experiment", "metrics", "models", "nets", "priors", "samplers")
OWN_PACKAGES = tuple(f"genae_core.{package}" for package in (*OWN, "training"))
NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")

_classes: dict[str, type] = {}
_names: dict[type, str] = {}
_by_former_path = {path: name for name, path in FORMER_PATHS.items()}


def register(name: str) -> Callable[[type[T]], type[T]]:
    """A class decorator that gives a config class its name on disk.

    The name is part of every file that holds such a config, so it must never change; the class may
    be moved and renamed. Defining a class of the same module and name again, as a notebook does,
    replaces the earlier one.

    Args:
        name: Lower-case words joined by "_" and ".", e.g. "vae" or "prior.normal".

    Raises:
        ValueError: The name has another form, belongs to another class, or the class is not a
            frozen dataclass, which a config has to be.

    Example:
        >>> @register("doctest.my_prior")
        ... @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class MyPriorConfig:
        ...     scale: float = 1.0
        >>> name_of(MyPriorConfig)
        'doctest.my_prior'
    """

    def decorate(kind: type[T]) -> type[T]:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"a config's name is lower-case words joined by '_' and '.', got {name!r}"
            )
        # dataclass() has marked the class itself, not one that it derives from.
        parameters = kind.__dict__.get("__dataclass_params__")
        if parameters is None or not parameters.frozen:
            raise ValueError(
                f"{_path(kind)} must be a frozen dataclass to be a config: put @register above "
                "@dataclass(frozen=True, kw_only=True)"
            )
        other = _classes.get(name)
        if other is not None and _path(other) != _path(kind):
            raise ValueError(
                f"the config name {name!r} of {_path(kind)} belongs to {_path(other)} already: "
                "choose another"
            )
        _classes[name] = kind
        _names[kind] = name
        return kind

    return decorate


def name_of(kind: type) -> str:
    """The name on disk of a registered class. Raises ValueError where it has none, since a config
    without a name could not be read again."""
    if kind not in _names:
        raise ValueError(
            f"{_path(kind)} has no name on disk, so it could not be loaded again: define it with "
            '@genae_core.config.register("a_name_of_your_own")'
        )
    return _names[kind]


def class_of(name: str) -> type:
    """The registered class that a file names, by its name or by the import path that files up to
    version 0.1 have. Raises ValueError where there is none."""
    known = _by_former_path.get(name, name)
    if known not in _classes:
        _register_own()
    if known not in _classes:
        raise ValueError(
            f"no config {name!r} in this program: genae has none of this name, and none was "
            "registered; import the code that defines it first"
        )
    return _classes[known]


def canonical_name(name: str) -> str:
    """The name that a config has now, from that or from its former import path."""
    return _by_former_path.get(name, name)


def former_name(name: str) -> str:
    """What the config was called on disk up to version 0.1: its import path then, else its name.

    Run keys and cache keys are made of it, so that they stay what they were.
    """
    return FORMER_PATHS.get(name, name)


def registered() -> dict[str, type]:
    """Every registered class by its name, genae's own among them."""
    _register_own()
    return dict(_classes)


def _register_own() -> None:
    """Import genae's own modules that define configs, each of which registers them."""
    for package in OWN_PACKAGES:
        path = importlib.import_module(package).__path__
        for module in pkgutil.iter_modules(path, f"{package}."):
            importlib.import_module(module.name)


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
