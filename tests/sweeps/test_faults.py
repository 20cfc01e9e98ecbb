"""Whatever dies, the sweep ends as if nothing had: real processes, killed. `make test-faults`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from genae_core import checkpoint

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("--families", "aae", "--latent-dims", "2", "--epochs", "60", "--checkpoint-seconds", "0")


def start(home: Path, name: str, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "sweeps" / "latent_dim.py"), *FLAGS, "--name", name, *flags],
        env={**os.environ, "GENAE_HOME": str(home), "OMP_NUM_THREADS": "1"},
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_state(home: Path, name: str, least: int = 1) -> Path:
    """The newest state of the sweep's one training, once there have been so many."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for path in (home / "sweeps" / name / "states").glob("*/state-*"):
            if int(path.name[6:]) >= least and (path / checkpoint.DESCRIPTION).exists():
                return path
        time.sleep(0.02)
    raise AssertionError("no state within two minutes")


def family(pid: int) -> list[int]:
    """The processes below this one (Linux)."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has just ended
            for child in map(int, task.read_text().split()):
                found += [child, *family(child)]
    return found


def workers(driver: subprocess.Popen[str]) -> list[int]:
    """The processes in which the driver's trials run."""
    found = []
    for pid in family(driver.pid):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::ImplicitFunc"):
                found.append(pid)
    return found


def kill(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def outcome(home: Path, name: str) -> tuple[str, dict[str, float]]:
    """sha256 of the weights of the sweep's one run, and its scalars."""
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], f"tags.sweep = '{name}'")
    assert run.info.status == "FINISHED" and "error" not in run.data.tags
    folder = Path(client.download_artifacts(run.info.run_id, "checkpoint"))
    _, about = checkpoint.read(folder)
    history = client.get_metric_history(run.info.run_id, "chain/fcd")
    assert len({m.step for m in history}) == len(history)  # logged once
    scalars = {k: v for k, v in run.data.metrics.items() if k.startswith("fcd")}
    return about["sha256"], scalars


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, float]]:
    home = tmp_path_factory.mktemp("home")
    process = start(home, "whole")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert not (home / "sweeps" / "whole" / "states").exists()
    return home, *outcome(home, "whole")


def test_a_killed_worker_goes_on_elsewhere_to_the_same_bits(
    undisturbed: tuple[Path, str, dict[str, float]],
) -> None:
    home, weights, scalars = undisturbed
    process = start(home, "worker")
    wait_for_state(home, "worker", least=20)
    (worker,) = workers(process)
    kill(worker)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert outcome(home, "worker") == (weights, scalars)


def test_a_killed_driver_is_continued_by_one_command(
    undisturbed: tuple[Path, str, dict[str, float]],
) -> None:
    home, weights, scalars = undisturbed
    process = start(home, "driver")
    before = wait_for_state(home, "driver", least=20)
    kill(process.pid, *family(process.pid))
    process.communicate()
    assert before.parent.exists()
    again = start(home, "driver", "--resume")
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert outcome(home, "driver") == (weights, scalars)


def test_a_worker_that_dies_again_and_again_is_given_up(
    undisturbed: tuple[Path, str, dict[str, float]],
) -> None:
    home = undisturbed[0]
    process = start(home, "hopeless", "--max-retries", "1")
    killed: set[int] = set()
    while process.poll() is None and len(killed) < 2:
        for worker in workers(process):
            if worker not in killed and wait_for_state(home, "hopeless"):
                time.sleep(0.5)
                kill(worker)
                killed.add(worker)
        time.sleep(0.1)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1, said
    assert "1 failed" in said and "failed: {" not in said
