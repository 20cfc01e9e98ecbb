"""The names that config classes have on disk. A name does not depend on the module of its class.

The names in a file are looked up here, and nothing that the file names is imported. So a program
can read genae's own configs, the configs that it has registered itself, and those of installed
packages that announce them as entry points.
"""

import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from genae_core.config.definitions import (
    Definition,
    definition_of,
    how_to_trust,
    is_own,
    stored_definition,
)
from genae_core.config.former_names import FORMER_PATHS

T = TypeVar("T")

# The packages whose modules define genae's own configs.
OWN_PACKAGES = (
    "genae_core.data",
    "genae_core.divergences",
    "genae_core.experiment",
    "genae_core.metrics",
    "genae_core.models",
    "genae_core.nets",
    "genae_core.priors",
    "genae_core.samplers",
    "genae_core.training",
)
NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
# The key under which a config on disk holds its name.
KEY = "config"
# A class holds its name in this attribute. No decorator runs in a process that receives the class
# from cloudpickle, but the attribute comes with the class.
ATTRIBUTE = "__config_name__"
# A class that is not genae's holds its Definition in this one.
DEFINED = "__config_defined__"
# An installed package names the modules that define its configs in this group of entry points.
ENTRY_POINTS = "genae.configs"

_classes: dict[str, type] = {}
_by_former_path = {path: name for name, path in FORMER_PATHS.items()}


class UnknownConfigError(ValueError):
    """A file holds a config whose class, or whose function, is not known to this program.

    Attributes:
        name: The name of the config or of the function in the file.
        kind: "config" or "function".
    """

    def __init__(self, name: str, message: str, kind: str = "config") -> None:
        super().__init__(message)
        self.name, self.kind = name, kind


def register(name: str) -> Callable[[type[T]], type[T]]:
    """A class decorator that gives a config class its name on disk.

    The name is part of every file that holds such a config, so it must never change. The class may
    be moved and renamed. If a class is defined again, as in a notebook, it replaces the former
    one.

    Args:
        name: Lower-case words joined by "_" and ".", e.g. "vae" or "prior.normal".

    Returns:
        The decorator, which returns the class itself.

    Raises:
        ValueError: The name has another form or belongs to another class; or the class already
            has another name; or the class is not a frozen dataclass, has a field that is not an
            argument of its constructor, or has a field called "config".

    Example:
        >>> @register("doctest.my_prior")
        ... @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class MyPriorConfig:
        ...     scale: float = 1.0
        >>> name_of(MyPriorConfig)
        'doctest.my_prior'
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"a config's name is lower-case words joined by '_' and '.', got {name!r}"
        )

    def decorate(kind: type[T]) -> type[T]:
        _check_class(kind)
        if _own_name(kind) not in (None, name):
            raise ValueError(
                f"{_path(kind)} has the config name {_own_name(kind)!r} already, got {name!r}"
            )
        if name in FORMER_PATHS and not kind.__module__.startswith("genae_core."):
            raise ValueError(
                f"the config name {name!r} belongs to genae: choose another for {_path(kind)}"
            )
        other = _classes.get(name)
        if other is not None and not _is_redefinition(other, kind):
            raise ValueError(
                f"{_path(other)} and {_path(kind)} both have the config name {name!r}: give one "
                "of them another name"
            )
        setattr(kind, ATTRIBUTE, name)
        if is_own(kind):
            setattr(kind, DEFINED, definition_of(kind))
        _classes[name] = kind
        return kind

    return decorate


def name_of(kind: type) -> str:
    """The name on disk of a registered class.

    Raises:
        ValueError: The class has no name, or was defined again with other fields; such a config
            could not be read again.
    """
    name = _own_name(kind)
    if name is None:
        raise ValueError(
            f"{_path(kind)} has no name on disk, so it could not be loaded again: define it with "
            '@genae_core.register("a_name_of_your_own")'
        )
    # A class that came by cloudpickle is not registered in this process yet.
    current = _classes.setdefault(name, kind)
    if current is not kind and _fields(current) != _fields(kind):
        raise ValueError(
            f"{_path(kind)} was defined again with other fields, {_fields(current)} instead of "
            f"{_fields(kind)}, so this config could not be loaded again: create it anew"
        )
    return name


def class_of(name: str) -> type:
    """The registered class that has this name on disk, or had this import path in version 0.1.

    Raises:
        UnknownConfigError: No class of this program has the name.
    """
    current = canonical_name(name)
    if current not in _classes:
        _register_own()
    failures = _import_entry_points() if current not in _classes else ()
    if current not in _classes:
        why = "".join(f"; {failure}" for failure in failures)
        raise UnknownConfigError(
            name,
            f"no config {name!r} in this program: it is neither one of genae's nor registered; "
            f"{how_to_trust(None)}{why}",
        )
    return _classes[current]


@contextlib.contextmanager
def say_what_to_trust(own_code: Any, source: str) -> Iterator[None]:
    """During the block, the error about an unknown config says where its class was defined.

    own_code: What is stored beside the config under OWN_CODE; it may be missing or damaged.
    source: The file or the run, for the message.
    """
    try:
        yield
    except UnknownConfigError as error:
        advice = how_to_trust(stored_definition(own_code, error.name))
        message = (
            f"{source}: no {error.kind} {error.name!r} in this program, nor in genae; {advice}"
        )
        raise UnknownConfigError(error.name, message, error.kind) from error


def canonical_name(name: str) -> str:
    """The present name of a config. `name` is that name or the config's former import path."""
    return _by_former_path.get(name, name)


def former_name(name: str) -> str:
    """The name of a config on disk up to version 0.1, which was its import path at that time.

    A newer config has no former name, and its present name is returned. Run keys and cache keys
    are hashes over the former name, so that the keys never change.
    """
    return FORMER_PATHS.get(name, name)


def definition(kind: type) -> Definition | None:
    """Where a registered class was defined; None for a class of genae."""
    return kind.__dict__.get(DEFINED)


def user_classes() -> tuple[type, ...]:
    """The registered classes that are not genae's."""
    return tuple(kind for kind in _classes.values() if is_own(kind))


def adopt(classes: Iterable[type]) -> None:
    """Register classes that came to this process by cloudpickle, so that their names are read."""
    for kind in classes:
        name = _own_name(kind)
        assert name is not None, kind
        _classes[name] = kind


def registered_classes() -> dict[str, type]:
    """All registered classes, genae's own included, by name."""
    _register_own()
    return dict(_classes)


def _register_own() -> None:
    """Import the modules that define genae's own configs; each of them registers its classes.

    Several threads may call this at once: a thread waits until another one has finished an import
    that both need.
    """
    for package in OWN_PACKAGES:
        path = importlib.import_module(package).__path__
        for module in pkgutil.iter_modules(path, f"{package}."):
            importlib.import_module(module.name)


@functools.cache
def _import_entry_points() -> tuple[str, ...]:
    """Import the modules that installed packages announce, and return what could not be imported.

    Which modules these are does not depend on any file that is read: whoever installs such a
    package trusts it.
    """
    failures = []
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS)):
        try:
            point.load()
        except Exception as error:  # of a user's own code
            package = point.dist.name if point.dist is not None else "unknown"
            failures.append(
                f"the package {package} announces {point.value} in {ENTRY_POINTS}, which cannot "
                f"be imported: {type(error).__name__}: {error}"
            )
    return tuple(failures)


def _check_class(kind: type) -> None:
    """Raise ValueError unless the class can be written to disk and read again."""
    # @dataclass must have been applied to this class itself, not only to one of its bases.
    parameters = kind.__dict__.get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        raise ValueError(
            f"{_path(kind)} must be a frozen dataclass to be a config: put @register above "
            "@dataclass(frozen=True, kw_only=True)"
        )
    for field in dataclasses.fields(kind):
        if field.name == KEY:
            raise ValueError(f"{_path(kind)} has a field {KEY!r}, which is the key of its name")
        if not field.init:
            raise ValueError(
                f"{_path(kind)}.{field.name} must be an argument of the constructor, so that a "
                "file can give its value"
            )


def _own_name(kind: type) -> str | None:
    """The name of the class itself; the name of a base class does not count."""
    return kind.__dict__.get(ATTRIBUTE)


def _is_redefinition(other: type, kind: type) -> bool:
    """Whether both classes come from one definition.

    The definition may have run twice, as in a notebook, or its file may be run as a script and
    also imported as a module.
    """
    modules = {other.__module__, kind.__module__}
    same_module = len(modules) == 1 or "__main__" in modules
    return same_module and other.__qualname__ == kind.__qualname__


def _fields(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
