"""The user's own code that a program may import, so that it can read configs of its classes.

A file holds the name of a config and never makes genae import code. Whoever trusts the code that
defines a class names it: with the flag --trust of every command, or with `trust` in a program.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from genae_core.config.errors import reason_of

# The modules that `trust` has imported. What is sent to other processes takes their code along,
# because those processes may not find the modules.
TRUSTED: list[ModuleType] = []


def trust(code: str) -> ModuleType:
    """Import a user's own code, which registers the config classes that it defines.

    Args:
        code: The path of a Python file, such as "studies/mine.py", or the name of a module, such
            as "my_package.models". A file is imported under its name without ".py". The modules
            beside it can be imported, as when it is run as a script.

    Returns:
        The module.

    Raises:
        ValueError: There is no such file or module, or its own code raises an error.
    """
    path = Path(code).expanduser()
    is_file = code.endswith(".py")
    if is_file and not path.is_file():
        raise ValueError(f"--trust {code}: there is no file {path.absolute()}")
    try:
        module = _import_file(path.resolve()) if is_file else importlib.import_module(code)
    except Exception as error:  # The user's own code may raise anything.
        raise ValueError(f"--trust {code}: it cannot be imported: {reason_of(error)}") from error
    if module not in TRUSTED:
        TRUSTED.append(module)
    return module


def _import_file(path: Path) -> ModuleType:
    loaded = sys.modules.get(path.stem)
    if loaded is not None:
        if Path(getattr(loaded, "__file__", None) or "").resolve() == path:
            return loaded
        raise ImportError(f"another module has the name {path.stem!r}: rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module
