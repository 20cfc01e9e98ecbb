"""The user's own functions that a config names as "module:function".

A file that holds such a name makes genae import nothing. The function must be one that this
program has named itself, or that a trusted module or the running script defines.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from genae_core.config.definitions import Definition, definition_of
from genae_core.config.own_code import TRUSTED
from genae_core.config.registry import UnknownConfigError

HOW_TO_TRUST = (
    "name the code that defines it with --trust FILE or --trust MODULE, or in a program call "
    "genae_core.trust(...) first"
)
FUNCTION = "names a function of the user's own code"


class OwnFunction(NamedTuple):
    """A function of the user's own code, and where it was defined."""

    function: Callable[..., Any]
    definition: Definition


_functions: dict[str, OwnFunction] = {}


def function_field() -> Any:
    """A config's field that names a function of the user's own code, "module:function"."""
    return dataclasses.field(metadata={FUNCTION: True})


def name_function(function: Callable[..., Any]) -> str:
    """The name of a function that this program uses, under which `own_function` returns it.

    Args:
        function: A function of a module, or of the running script.

    Returns:
        "module:function". A script counts as the module of its name.

    Raises:
        ValueError: The function has no name in its module.
    """
    name = getattr(function, "__qualname__", "")
    if not name.isidentifier():
        raise ValueError(
            f"a loader must be a function that a module or a script defines by `def`, got "
            f"{function!r}"
        )
    definition = definition_of(function)
    full = f"{definition.path.removesuffix(f'.{name}')}:{name}"
    _functions[full] = OwnFunction(function, definition)
    return full


def own_function(name: str) -> OwnFunction:
    """The function that a config names.

    Args:
        name: "module:function".

    Returns:
        The function that this program has named itself, or that a module of `trust` or the
        running script defines. A function that such a module only imports does not count.

    Raises:
        UnknownConfigError: There is no such function.
    """
    if name not in _functions:
        module_name, _, function_name = name.partition(":")
        trusted = [*TRUSTED, sys.modules["__main__"]]
        modules = [module for module in trusted if _name_of(module) == module_name]
        for module in modules:
            function = vars(module).get(function_name)
            if callable(function) and getattr(function, "__module__", None) == module.__name__:
                _functions[name] = OwnFunction(function, definition_of(function))
                return _functions[name]
        why = f"the module {module_name} does not define it" if modules else HOW_TO_TRUST
        raise UnknownConfigError(name, f"no function {name!r} in this program: {why}", "function")
    return _functions[name]


def adopt_functions(functions: Mapping[str, OwnFunction]) -> None:
    """Take functions that came to this process by cloudpickle, by their names."""
    _functions.update(functions)


def own_functions() -> dict[str, OwnFunction]:
    """The functions of the user's own code that this process uses, by their names."""
    return dict(_functions)


def functions_in(config: Any) -> Iterator[str]:
    """The names of functions in the fields of one config."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if FUNCTION in field.metadata and ":" in value:
            yield value


def _name_of(module: ModuleType) -> str:
    """The name of a module; that of its file for the running script."""
    spec = getattr(module, "__spec__", None)
    if module.__name__ != "__main__" or spec is not None:
        return module.__name__ if spec is None else str(spec.name)
    return Path(getattr(module, "__file__", None) or "__main__").stem
