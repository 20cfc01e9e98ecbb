"""Rules of the code that ruff does not know: short functions, few parameters, and plain names."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOPS = ("genae_core", "sweeps", "jobs", "cluster", "dashboards")
LONGEST, MOST_PARAMETERS = 60, 6
# Functions that may be longer or take more, each with the reason.
EXCEPTIONS = {
    "genae_core/models/wrapped.py:wrap": (
        "it describes a model of another package, of which each argument is one independent fact"
    ),
}
# Participles that do not say what a variable holds.
VAGUE = {"found", "told", "given", "seen", "taken"}


def _modules() -> list[Path]:
    return sorted(path for top in TOPS for path in (ROOT / top).rglob("*.py"))


def _functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function and method, under the name by which EXCEPTIONS knows it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.relative_to(ROOT)}:{node.name}", node


def _size(function: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int]:
    """Lines with the docstring, and parameters without self or cls."""
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    own = names[1:] if names[:1] in (["self"], ["cls"]) else names
    return (function.end_lineno or 0) - function.lineno + 1, len(own)


def _names(path: Path) -> set[str]:
    """Every name that the module gives to something: variables, parameters, attributes, functions,
    classes and imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def test_functions_are_short_and_take_few_parameters() -> None:
    large = {
        name: size
        for path in _modules()
        for name, function in _functions(path)
        if (size := _size(function))[0] > LONGEST or size[1] > MOST_PARAMETERS
    }
    assert large.keys() == EXCEPTIONS.keys(), large


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_names_say_what_they_hold(path: Path) -> None:
    assert not _names(path) & VAGUE


def test_the_rules_see_what_they_forbid(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "def f(a, b, c, d, e, f, seen): pass\n"
        "class C:\n    def g(self, a, b, c, d, e, f): self.taken = [found for found in a]\n"
    )
    first, second = ast.parse(path.read_text()).body
    assert isinstance(first, ast.FunctionDef) and _size(first) == (1, 7)
    assert isinstance(second, ast.ClassDef)
    (method,) = second.body
    assert isinstance(method, ast.FunctionDef) and _size(method) == (1, 6)
    assert _names(path) & VAGUE == {"seen", "taken", "found"}


def _missing(path: Path) -> Iterator[str]:
    """What the file imports from a module of genae, or takes from it later, that is not there."""
    tree = ast.parse(path.read_text())
    modules: dict[str, ModuleType] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("genae_core"):
            for alias in node.names:
                try:
                    value = _imported(str(node.module), alias.name)
                except ImportError:
                    yield f"{node.lineno}: {node.module}.{alias.name}"
                    continue
                if isinstance(value, ModuleType):
                    modules[alias.asname or alias.name] = value
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            if module is not None and not hasattr(module, node.attr):
                yield f"{node.lineno}: {node.value.id}.{node.attr}"


def _imported(module: str, name: str) -> object:
    source = importlib.import_module(module)
    if hasattr(source, name):
        return getattr(source, name)
    return importlib.import_module(f"{module}.{name}")


def test_what_the_tests_use_of_genae_exists() -> None:
    """Some tests run rarely (`make test-faults`), and mypy does not read them."""
    by_commit = ROOT / "tests" / "stored" / "make.py"  # it runs in the commit that it names
    paths = [path for path in (ROOT / "tests").rglob("*.py") if path != by_commit]
    assert len(paths) > 100
    missing = {str(path): names for path in paths if (names := list(_missing(path)))}
    assert not missing
