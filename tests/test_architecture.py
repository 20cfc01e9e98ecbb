"""The order of the packages, the door of each third-party library, and that genae_core runs where
its optional libraries are missing."""

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "genae_core"
# From the ground up: a package imports itself and those before it.
ORDER = (
    "config",
    "cluster",
    "distributions",
    "nets",
    "divergences",
    "priors",
    "samplers",
    "data",
    "models",
    "training",
    "metrics",
    "evaluation",
    "experiment",
    "tracking",
    "report",
    "sweep",
    "recipes",
    "commands",
    "testing",
)
# Where each library may be imported: a package, or one module of it.
DOORS = {
    "mlflow": {"tracking"},
    "ray": {"sweep"},
    "optuna": {"sweep"},
    "torchvision": {"data.torchvision_import", "data.download"},
    "matplotlib": {"report"},
    "yaml": {"report"},
    "tyro": {"config.flags", "cluster", "recipes", "commands"},
    "rich": {"sweep.live"},
    "tqdm": {"config.progress"},
    "zuko": {"priors.flow"},
    "arviz_stats": {"metrics.mixing"},
    "torch_fidelity": {"metrics.pretrained"},
    "timm": {"metrics.pretrained"},
    "pytest": {"testing"},
    "pickle": set(),
    "cloudpickle": set(),
    "dill": set(),
    "joblib": set(),
    "shelve": set(),
}
# What stands behind the doors of Ray, MLflow, matplotlib and tyro, and so is not for everyone.
BEHIND = ("cluster", "tracking", "report", "sweep", "recipes", "commands")


def _imported(source: str) -> Iterator[str]:
    """Every module that the source imports, at its top or lazily, by statement or by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            yield from (
                a.value
                for a in node.args
                if isinstance(a, ast.Constant) and isinstance(a.value, str)
            )


def _door(name: str) -> str | None:
    """The longest entry of DOORS that the imported name is, or is inside of."""
    fits = [door for door in DOORS if f"{name}.".startswith(f"{door}.")]
    return max(fits, key=len, default=None)


def _modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def _imports_of_genae(path: Path) -> Iterator[str]:
    """The packages of genae_core that a module imports, lazily too."""
    for name in _imported(path.read_text()):
        parts = name.split(".")
        if parts[0] == "genae_core" and len(parts) > 1:
            yield parts[1]


def test_the_root_holds_packages_alone() -> None:
    modules = {path.name for path in PACKAGE.iterdir() if path.suffix in (".py", ".pyi")}
    assert modules == {"__init__.py", "__init__.pyi", "__main__.py"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set(ORDER)


def test_no_package_imports_a_higher_one() -> None:
    """The registry names the packages of genae's own configs as text, to import them when a file
    is read; that is no import of the module itself."""
    for module, path in _modules().items():
        package = module.split(".")[0]
        if package in ("__init__", "__main__"):
            continue
        allowed = ORDER[: ORDER.index(package) + 1]
        for imported in _imports_of_genae(path):
            assert imported in allowed, f"{module} imports genae_core.{imported}, which is higher"


def test_no_two_modules_import_each_other() -> None:
    """Imports at the top of a module make no circle."""
    graph: dict[str, set[str]] = {}
    modules = _modules()
    for module, path in modules.items():
        graph[module] = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("genae_core."):
                base = (node.module or "").removeprefix("genae_core.")
                names = {base, *(f"{base}.{alias.name}" for alias in node.names)}
                graph[module] |= names & set(modules)
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for other in graph[module]:
                visit(other, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_each_library_has_its_door() -> None:
    used: dict[str, set[str]] = {door: set() for door in DOORS}
    for module, path in _modules().items():
        for name in _imported(path.read_text()):
            if door := _door(name):
                used[door].add(module)
    for door, allowed in DOORS.items():
        others = {m for m in used[door] if m not in allowed and m.split(".")[0] not in allowed}
        assert not others, f"{door} is imported in {sorted(others)}"
    for door in ("mlflow", "ray", "optuna", "matplotlib", "tyro", "zuko", "pytest"):
        assert used[door], f"the walk no longer finds {door}"
    assert "data.torchvision_import" in used["torchvision"]


@pytest.mark.parametrize("package", ["", *ORDER])
def test_public_names_are_there_and_hide_no_module(package: str) -> None:
    """A name that is also a module's would be one or the other, by what was imported first."""
    name = f"genae_core.{package}".rstrip(".")
    public = importlib.import_module(name)
    modules = {module.name for module in pkgutil.iter_modules(public.__path__)}
    for exported in getattr(public, "__all__", ()):
        assert exported not in modules
        assert getattr(public, exported) is not None


def test_importing_genae_imports_no_heavy_library() -> None:
    code = "import sys, genae_core; print({'torch', 'ray', 'mlflow', 'tyro'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"


def test_no_script_edits_the_search_path() -> None:
    # A file that --trust names imports what lies beside it, as when it is run.
    exception = ROOT / "genae_core" / "config" / "own_code.py"
    for top in ("genae_core", "sweeps", "jobs", "cluster", "dashboards"):
        for path in (ROOT / top).rglob("*.py"):
            assert path == exception or "sys.path" not in path.read_text(), path


def test_every_script_ends_at_the_one_door_for_errors() -> None:
    """`cli` prints an error as one message; nothing else may stand at the end of a script."""
    scripts = 0
    for top in ("sweeps", "jobs", "cluster", "dashboards"):
        for path in set((ROOT / top).rglob("*.py")) - set((ROOT / "jobs/benchmarks").glob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
                    scripts += 1
                    ending = "\n".join(map(ast.unparse, node.body))
                    assert ending == "sys.exit(cli(Options, main, __doc__))", path
    assert scripts > 15, "the walk no longer finds the scripts"


def test_nothing_reads_or_writes_pickles() -> None:
    for path in _modules().values():
        calls = [
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        ]
        assert not {"torch.load", "torch.save", "np.load"} & set(calls), path


def test_the_walk_sees_every_way_to_import() -> None:
    source = """
import ray.tune as t
def later():
    from ray import tune, put
    from mlflow.tracking import MlflowClient
    importlib.import_module("optuna.samplers")
    __import__("pickle")
from ray.tune.search import x
import raytracer
"""
    doors = [_door(name) for name in _imported(source)]
    assert sorted(d for d in doors if d) == [
        "mlflow",
        "optuna",
        "pickle",
        "ray",
        "ray",
        "ray",
        "ray",
    ]
    assert doors.count(None) == 1


BLOCKED = """
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError("blocked: " + name, name=name)

sys.meta_path.insert(0, Blocker())
try:
    import ray
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the blocker does not block")
import genae_core
for module in pkgutil.walk_packages(genae_core.__path__, "genae_core."):
    behind = module.name.split(".")[1] in {behind} or module.name in {doors}
    if not behind:
        importlib.import_module(module.name)
from genae_core.testing import tiny
result = tiny.run()
print(len(result.chains), all(value > 0 for chain in result.chains for value in chain.fcd))
"""


@pytest.mark.slow
def test_a_trial_runs_without_the_optional_libraries() -> None:
    names = ("ray", "mlflow", "optuna", "torchvision", "matplotlib", "tyro", "pyarrow")
    doors = {"genae_core.config.cli", "genae_core.config.flags"}
    script = BLOCKED.format(names=set(names), behind=set(BEHIND), doors=doors)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "True"]
