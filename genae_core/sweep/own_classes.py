"""The user's own classes on their way to the workers, which cannot import where they are defined.

Ray sends the classes of installed packages by their names, and those of a script by their code.
The modules beside a script, and those that the user trusts, are sent by their code too. So a
worker on another machine needs none of the user's files.
"""

import functools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from genae_core.config.definitions import OURS, is_installed
from genae_core.config.errors import reason_of
from genae_core.config.own_code import TRUSTED
from genae_core.config.own_functions import OwnFunction, own_functions
from genae_core.config.registry import user_classes
from genae_core.sweep.ray_cluster import import_ray


def classes_to_send() -> tuple[type, ...]:
    """The registered classes of the user, which a worker registers before it reads configs.

    A class that cannot be sent is left out; `check_sendable` says whether it is needed.
    """
    send_modules()
    return tuple(kind for kind in user_classes() if _can_be_sent(kind))


def functions_to_send() -> dict[str, OwnFunction]:
    """The user's own functions that configs name, which a worker calls by these names."""
    send_modules()
    return {name: own for name, own in own_functions().items() if _can_be_sent(own)}


def _can_be_sent(code: object) -> bool:
    try:
        import_ray().cloudpickle.dumps(code)
    except Exception:  # pickle raises what the user's own objects raise
        return False
    return True


def check_sendable(values: Iterable[Any]) -> None:
    """Raise ValueError if configs cannot be sent to workers."""
    send_modules()
    for value in values:
        try:
            import_ray().cloudpickle.dumps(value)
        except Exception as error:
            raise ValueError(
                f"{type(value).__name__} cannot be sent to the workers: {reason_of(error)}. A "
                "module of your own holds something that no other process can have, such as an "
                "open file or a lock: make it where it is used"
            ) from error


def send_modules() -> None:
    """Let Ray send the user's own modules by their code."""
    for module in _own_modules():
        import_ray().cloudpickle.register_pickle_by_value(module)


def _own_modules() -> Iterator[ModuleType]:
    """The imported modules that lie where the script, a trusted module or an own class lies."""
    names = {"__main__", *(module.__name__ for module in TRUSTED)}
    names |= {kind.__module__ for kind in user_classes()}
    names |= {own.function.__module__ for own in own_functions().values()}
    roots = {_root(sys.modules.get(name)) for name in names} - {None}
    if not roots:
        return
    for name, module in list(sys.modules.items()):
        if name != "__main__" and module.__name__ == name and _root(module) in roots:
            yield module


def _root(module: ModuleType | None) -> Path | None:
    """The folder on Python's path in which a user's own module was found; None for others."""
    file = getattr(module, "__file__", None)
    if module is None or not file:
        return None
    spec = getattr(module, "__spec__", None)
    name = module.__name__ if spec is None or module.__name__ != "__main__" else spec.name
    return _root_of(name, str(file))


@functools.cache
def _root_of(name: str, file: str) -> Path | None:
    """`_root` of the module with this name and file."""
    path = Path(file)
    if path.suffix != ".py" or name.split(".")[0] == OURS or is_installed(path):
        return None
    depth = name.count(".") + (path.name == "__init__.py")
    parents = path.resolve().parents
    return parents[depth] if depth < len(parents) else None
