"""The user's own code that a program may import, so that it can read configs of its classes.

A file holds the name of a config and never makes genae import code. Whoever trusts the code that
defines a class names it: with the flag --trust of every command, or with `trust` in a program.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from genae_core.config.errors import reason_of

# The modules that `trust` has imported. What is sent to other processes takes their code along,
# because those processes may not find the modules.
TRUSTED: list[ModuleType] = []
_importing: list[str] = []  # what `trust` is importing now


def trust(code: str) -> ModuleType:
    """Import a user's own code, which registers the config classes that it defines.

    Args:
        code: The path of a Python file, such as "studies/mine.py", or of a package's folder; or
            the name of a module, such as "my_package.models", which is also looked for in the
            present folder. A file is imported under its name without ".py", and a file of a
            package as that package's module. The modules beside it can be imported, as when it is
            run as a script.

    Returns:
        The module.

    Raises:
        ValueError: There is no such file or module, or its own code raises an error or starts a
            sweep.
    """
    path = Path(code).expanduser()
    is_path = code.endswith(".py") or os.sep in code or path.is_dir()
    file = path / "__init__.py" if path.is_dir() else path
    if is_path and not file.is_file():
        raise ValueError(f"--trust {code}: there is no file {file.absolute()}")
    _importing.append(code)
    try:
        module = _import_file(file.resolve()) if is_path else _import_name(code)
    except (Exception, SystemExit) as error:  # The user's own code may raise anything.
        raise ValueError(f"--trust {code}: it cannot be imported: {reason_of(error)}") from error
    finally:
        _importing.pop()
    if module not in TRUSTED:
        TRUSTED.append(module)
    return module


def refuse_while_importing(what: str) -> None:
    """Raise ValueError if a script that is only imported starts something.

    what: What it starts, for the message.
    """
    if _importing:
        raise ValueError(
            f"it starts {what} when it is imported: put what starts it below `if __name__ == "
            '"__main__":`'
        )


def _import_name(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    """Import a Python file. If it belongs to a package, it is imported as the package's module."""
    if path.suffix != ".py":
        raise ImportError(f"{path} is no Python file")
    parts = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    name = ".".join(parts)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    module = sys.modules.get(name)
    if module is None:
        module = _load(name, path) if parts == [path.stem] else importlib.import_module(name)
    if Path(getattr(module, "__file__", None) or "").resolve() != path:
        raise ImportError(f"another module has the name {name!r}: rename the file")
    return module


def _load(name: str, path: Path) -> ModuleType:
    """Import a file under a name that another file on Python's path may have too."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
