"""A third-party library has one door, and genae_core runs where its optional ones are missing."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "genae_core"
# Where each may be imported; a longer name is another door than a shorter one.
DOORS = {
    "mlflow": {"tracking"},
    "ray": {"cluster"},
    "ray.tune": {"launch", "tuning"},
    "optuna": {"launch"},
    "torchvision": {"torchvision_import", "data.download"},
    "matplotlib": {"report"},
    "tyro": {"cli"},
    "rich": {"live"},
    "zuko": {"priors.flow"},
    "arviz_stats": {"metrics.mixing"},
    "pickle": set(),
    "cloudpickle": set(),
    "dill": set(),
    "joblib": set(),
    "shelve": set(),
}
# What stands behind a door of Ray, MLflow or tyro, and so is not for everyone.
BEHIND = (
    "tracking",
    "delivery",
    "meters",
    "launch",
    "tuning",
    "cluster",
    "cell",
    "runs",
    "report",
    "choosing",
    "sweep_folder",
    "sweeping",
    "explorer",
    "shared_view",
    "publishing",
    "live",
    "cli",
)


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


def test_each_library_has_its_door() -> None:
    used: dict[str, set[str]] = {door: set() for door in DOORS}
    for module, path in _modules().items():
        for name in _imported(path.read_text()):
            if door := _door(name):
                used[door].add(module)
    for door, allowed in DOORS.items():
        assert used[door] <= allowed, f"{door} is imported in {sorted(used[door] - allowed)}"
    for door in ("mlflow", "ray", "ray.tune", "optuna", "matplotlib", "tyro"):
        assert used[door], f"the walk no longer finds {door}"
    assert "torchvision_import" in used["torchvision"]


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
        "ray.tune",
        "ray.tune",
        "ray.tune",
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
    if module.name.split(".")[1] not in {behind}:
        importlib.import_module(module.name)
from contracts import tiny
result = tiny.run()
print(len(result.chains), all(value > 0 for chain in result.chains for value in chain.fcd))
"""


def test_a_trial_runs_without_the_optional_libraries() -> None:
    names = ("ray", "mlflow", "optuna", "torchvision", "matplotlib", "tyro", "pyarrow")
    script = BLOCKED.format(names=set(names), behind=set(BEHIND))
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "True"]
