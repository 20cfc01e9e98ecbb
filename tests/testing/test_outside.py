"""The contract suites are used outside of this repository, with pytest and without the optional
libraries."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from contracts.lab import FAMILY

ROOT = Path(__file__).resolve().parents[2]

TEST = """
from my_family import LinearConfig

from genae_core.testing import ModelContract


class TestLinear(ModelContract):
    config = LinearConfig(latent_dim=3, noise=0.2)
    noise = NOISE
"""

# The optional libraries cannot be imported, as if they were not installed.
CONFTEST = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ray", "mlflow", "optuna", "matplotlib", "tyro", "torchvision"):
            raise ModuleNotFoundError("blocked: " + name, name=name)


sys.meta_path.insert(0, Blocker())
"""


def run_contract(folder: Path, noise: float, *flags: str) -> subprocess.CompletedProcess[str]:
    (folder / "my_family.py").write_text(FAMILY)
    (folder / "test_my_family.py").write_text(TEST.replace("NOISE", str(noise)))
    (folder / "conftest.py").write_text(CONFTEST)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *flags],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_a_family_of_ones_own_passes_the_contract(tmp_path: Path) -> None:
    done = run_contract(tmp_path, noise=0.2)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 20 and "skipped" not in done.stdout


@pytest.mark.slow
def test_a_broken_contract_is_reported_with_the_values(tmp_path: Path) -> None:
    """The asserts of the suite are rewritten by pytest, although they lie in a library."""
    done = run_contract(tmp_path, 0.5, "-k", "corruption")
    assert done.returncode == 1
    assert "1 failed" in done.stdout and "assert tensor(" in done.stdout, done.stdout


@pytest.mark.parametrize("name", ["ModelContract", "PriorContract", "SamplerContract"])
def test_the_package_explains_each_contract(name: str) -> None:
    import genae_core.testing as testing

    assert f"`{name}`" in (testing.__doc__ or "")
    assert "Attributes:" in (getattr(testing, name).__doc__ or "")
