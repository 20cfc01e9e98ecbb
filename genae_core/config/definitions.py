"""Where classes and functions outside of genae are defined, so that they can be loaded again.

A file holds the name of a config and never makes genae import code. Beside the configs of a user's
own classes, genae therefore stores where each class was defined, and an error can say which code a
reader may trust.
"""

import ast
import functools
import hashlib
import shlex
import site
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

# The key of a checkpoint's description and of sweep.json, and the tag of a run, under which the
# definitions are stored.
OWN_CODE = "own_code"
OURS = "genae_core"
INSTALLED = ("site-packages", "dist-packages")  # the folders of installed packages


class Definition(NamedTuple):
    """Where a config class, or a function that a config names, was defined.

    Attributes:
        path: The module and the class or function. A script counts as the module of its name.
        file: The absolute path of the file; "" if there is none, as in a notebook.
        sha256: The sha256 (hex) of the file when the class was defined; "" if there is no file.
    """

    path: str
    file: str
    sha256: str

    @property
    def to_trust(self) -> str:
        """What a user may trust to load the class again: a file, or the module of a package; ""
        for neither."""
        if not self.file:
            return ""
        return self.path.split(".")[0] if is_installed(Path(self.file)) else self.file

    def without_folders(self) -> "Definition":
        """The definition without the folders of this machine.

        The file keeps its name, and the file of an installed package its place in the package.
        """
        parts = Path(self.file).parts
        installed = [n for n, part in enumerate(parts) if part in INSTALLED]
        kept = parts[installed[-1] :] if installed else parts[-1:]
        return self._replace(file="/".join(kept))

    def to_json(self) -> dict[str, str]:
        """The definition as it is stored."""
        return {"class": self.path, "file": self.file, "sha256": self.sha256}


def is_own(kind: type) -> bool:
    """Whether the class is not genae's."""
    return kind.__module__.split(".")[0] != OURS


def definition_of(kind: type | Callable[..., Any]) -> Definition:
    """Where a class that is just being defined lies, or a function that exists."""
    module = sys.modules.get(kind.__module__)
    name = kind.__module__
    file = Path(getattr(module, "__file__", None) or "")
    is_file = file.is_file()
    if name == "__main__" and is_file:
        spec = getattr(module, "__spec__", None)
        name = spec.name if spec is not None else file.stem
    path = f"{name}.{kind.__qualname__}"
    if not is_file:
        return Definition(path, "", "")
    return Definition(path, str(file.resolve()), _sha256(file))


def stored_definition(stored: Any, name: str) -> Definition | None:
    """The definition of the config `name` in what `Definition.to_json` wrote; None if it is not
    there. Characters that a terminal would obey are left out."""
    about = stored.get(name) if isinstance(stored, Mapping) else None
    if not isinstance(about, Mapping):
        return None
    values = (about.get(key) for key in ("class", "file", "sha256"))
    texts = (value if isinstance(value, str) else "" for value in values)
    return Definition(*("".join(c for c in text if c.isprintable()) for text in texts))


def how_to_trust(definition: Definition | None) -> str:
    """What a user can do to load a class, in words."""
    if definition is None:
        return (
            "nothing says where it was defined. A file never makes genae import code: name the "
            "code that defines it with --trust FILE or --trust MODULE, or in a program import it "
            "or call genae_core.trust(...) first"
        )
    where = f" in {definition.file}" if definition.file else ", which is in no file"
    trusted = definition.to_trust or "FILE"
    return (
        f"it was defined as {definition.path}{where}. A file never makes genae import code: if "
        f"you trust that code, give --trust {shlex.quote(trusted)}, or in a program call "
        f"genae_core.trust({trusted!r}) first"
    )


def obstacle(kind: type | Callable[..., Any], definition: Definition) -> str | None:
    """Why a class or function cannot be loaded again by another process; None if it can."""
    if not definition.file:
        return "it is defined in a notebook or at a prompt, and not in a file"
    if "<locals>" in kind.__qualname__:
        return f"it is defined inside of a function in {definition.file}"
    if kind.__module__ == "__main__" and not _is_guarded(Path(definition.file)):
        return (
            f'{definition.file} has no `if __name__ == "__main__":`, so loading it would start '
            "the study again"
        )
    return None


@functools.cache
def is_installed(file: Path) -> bool:
    """Whether a file belongs to Python itself or to an installed package, here or elsewhere."""
    if set(INSTALLED) & set(file.parts):
        return True
    folders = _installed_folders()
    return any(folder in folders for folder in file.resolve().parents)


@functools.cache
def _installed_folders() -> frozenset[Path]:
    """The folders of Python's own modules and of installed packages."""
    names = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    paths = sysconfig.get_paths()
    places = [
        *(paths[name] for name in names),
        *site.getsitepackages(),
        site.getusersitepackages(),
    ]
    return frozenset(Path(place).resolve() for place in places)


@functools.cache
def _is_guarded(script: Path) -> bool:
    """Whether a script says what it does only when it is run, and not when it is imported."""
    try:
        statements = ast.parse(script.read_bytes()).body
    except (OSError, ValueError, SyntaxError):
        return False
    tests = [ast.unparse(node.test) for node in statements if isinstance(node, ast.If)]
    return any("__name__" in test and "__main__" in test for test in tests)


def _sha256(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
