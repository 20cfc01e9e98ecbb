"""Whatever dies, the sweep ends as if nothing had: real processes, killed. `make test-faults`."""

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
from contracts.store import s3
from mlflow.tracking import MlflowClient

from genae_core.sweep.worker import PROGRESS
from genae_core.training import checkpoint

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    *("--families", "aae", "--latent-dims", "2", "--epochs", "30", "--checkpoint-seconds", "0"),
    *("--precision", "fp32"),  # what is measured depends on the load, and the bits depend on it
)


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


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    """What it printed, once it has ended with this exit code."""
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said
    return said


def went_on(said: str) -> int:
    """The step from which the sweep's one training went on: a new one would end the same."""
    (step,) = re.findall(r"it continued from step (\d+)", said)
    return int(step)


def wait_for_state(home: Path, name: str, least: int = 1) -> Path:
    """The newest state of the sweep's one training, once there have been so many: one a step."""
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


Undisturbed = tuple[Path, tuple[str, dict[str, float]]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """GENAE_HOME, and the outcome of a sweep that nothing happened to."""
    home = tmp_path_factory.mktemp("home")
    ended(start(home, "whole"))
    assert not (home / "sweeps" / "whole" / "states").exists()
    assert not (home / "sweeps" / "whole" / "journals").exists()
    return home, outcome(home, "whole")


def test_a_killed_worker_goes_on_elsewhere_to_the_same_bits(undisturbed: Undisturbed) -> None:
    home, expected = undisturbed
    process = start(home, "worker")
    wait_for_state(home, "worker", least=20)
    (worker,) = workers(process)
    kill(worker)
    assert went_on(ended(process)) >= 20
    assert outcome(home, "worker") == expected


def test_a_worker_that_is_told_to_end_keeps_its_state_first(undisturbed: Undisturbed) -> None:
    home, expected = undisturbed
    process = start(home, "notice", "--checkpoint-seconds", "3600")
    deadline = time.monotonic() + 120
    while not workers(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    (worker,) = workers(process)
    while not any((home / "sweeps" / "notice" / PROGRESS).glob("*")):  # its first epoch is over
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(worker, signal.SIGTERM)
    told = time.monotonic()
    wait_for_state(home, "notice")
    assert time.monotonic() - told < 30
    assert went_on(ended(process)) >= 1
    assert outcome(home, "notice") == expected


def test_a_killed_driver_is_continued_by_one_command(undisturbed: Undisturbed) -> None:
    home, expected = undisturbed
    process = start(home, "driver")
    before = wait_for_state(home, "driver", least=20)
    kill(process.pid, *family(process.pid))
    process.communicate()
    assert before.parent.exists()
    assert went_on(ended(start(home, "driver", "--resume"))) >= 20
    assert outcome(home, "driver") == expected


@pytest.mark.parametrize("phase", ["gcs_server", "ray::RuntimeEnvAgent", "trials"])
def test_nothing_outlives_a_driver_that_is_killed_alone(
    undisturbed: Undisturbed, phase: str
) -> None:
    """While Ray's first server starts, while its last ones start, and while trials run."""
    home, expected = undisturbed
    name = f"alone-{phase.replace(':', '')}"
    process = start(home, name)
    if phase == "trials":
        wait_for_state(home, name, least=20)
    else:
        wait_for_program(process, phase)
    ray = os.getsid(next(pid for pid in family(process.pid) if runs(pid, "gcs_server")))
    kill(process.pid)
    killed = time.monotonic()
    process.communicate()
    while session(ray):
        assert time.monotonic() - killed < 10, session(ray)
        time.sleep(0.02)
    resume = ["--resume"] if (home / "sweeps" / name / "sweep.json").exists() else []
    said = ended(start(home, name, *resume))
    assert phase != "trials" or went_on(said) >= 20
    assert outcome(home, name) == expected


def wait_for_program(driver: subprocess.Popen[str], program: str) -> None:
    """Wait until a process below the driver runs the program."""
    deadline = time.monotonic() + 120
    while not any(runs(pid, program) for pid in family(driver.pid)):
        assert time.monotonic() < deadline and driver.poll() is None
        time.sleep(0.02)


def session(leader: int) -> list[str]:
    """The commands of the processes in the leader's session."""
    members = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(path.name)) == leader and runs(int(path.name), ""):
                members.append((path / "cmdline").read_text().replace("\0", " "))
    return members


def test_a_truncated_state_falls_back_loudly_to_the_one_before(undisturbed: Undisturbed) -> None:
    home, expected = undisturbed
    process = start(home, "cut")
    wait_for_state(home, "cut", least=20)
    kill(process.pid, *family(process.pid))
    process.communicate()
    states = (home / "sweeps" / "cut" / "states").glob("*/state-*")
    newest = max(states, key=lambda path: int(path.name[6:]))
    weights = newest / checkpoint.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    said = ended(start(home, "cut", "--resume"))
    assert f"warning: {newest.name} cannot be used, going back to the one before" in said
    assert went_on(said) == int(newest.name[6:]) - 1
    assert outcome(home, "cut") == expected


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_driver_that_is_told_to_stop_says_how_to_go_on(
    undisturbed: Undisturbed, sent: signal.Signals
) -> None:
    home, expected = undisturbed
    process = start(home, sent.name)
    wait_for_state(home, sent.name, least=20)
    process.send_signal(sent)
    began = time.monotonic()
    said = ended(process, 130)
    assert time.monotonic() - began < 15
    last = said.strip().splitlines()[-1]
    assert last == f"to continue: the same command with --name {sent.name} --resume"
    assert went_on(ended(start(home, sent.name, "--resume"))) >= 20
    assert outcome(home, sent.name) == expected


@pytest.mark.parametrize("victim", ["gcs_server", "raylet", "driver", "group"])
def test_whatever_is_killed_under_a_sweep_it_says_how_to_go_on(
    undisturbed: Undisturbed, victim: str
) -> None:
    """A server of Ray, the process that has joined Ray, or all of them at once with SIGTERM."""
    home, expected = undisturbed
    name = f"killed-{victim}"
    process = start(home, name)
    wait_for_state(home, name, least=20)
    below = family(process.pid)
    if victim == "group":
        for pid in (*below, process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    else:
        kill(below[0] if victim == "driver" else next(p for p in below if runs(p, victim)))
    began = time.monotonic()
    said = ended(process, 130)
    assert time.monotonic() - began < 15
    last = said.strip().splitlines()[-1]
    assert last == f"to continue: the same command with --name {name} --resume"
    assert "0 finished runs" in said
    assert not any(runs(pid, "") for pid in below)
    assert went_on(ended(start(home, name, "--resume"))) >= 20
    assert outcome(home, name) == expected


def runs(pid: int, program: str) -> bool:
    """Whether the process lives and runs the program."""
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        return command != "" and command.endswith(program)
    return False


def test_a_second_launch_of_a_live_sweep_is_refused(undisturbed: Undisturbed) -> None:
    home, expected = undisturbed
    process = start(home, "live")
    wait_for_state(home, "live")
    said = ended(start(home, "live", "--resume"), 2)
    assert "is running: wait for it, stop it, or choose another --name" in said
    ended(process)
    assert outcome(home, "live") == expected


def test_a_worker_that_dies_again_and_again_is_given_up(undisturbed: Undisturbed) -> None:
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
    said = ended(process, 1)
    assert "1 failed" in said
    assert "its worker died more than --max-retries times" in said


def test_a_loss_that_is_not_finite_is_not_tried_again(undisturbed: Undisturbed) -> None:
    home = undisturbed[0]
    said = ended(start(home, "nan", "--learning-rate", "1e30"), 1)
    assert "NonFiniteLossError" in said
    assert said.count("running aae") == 1
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.sweep = 'nan'")
    assert run.info.status == "FAILED" and "NonFiniteLossError" in run.data.tags["error"]


def test_a_trial_that_outgrows_its_memory_fails_alone(undisturbed: Undisturbed) -> None:
    home = undisturbed[0]
    flags = ("--latent-dims", "2", "400000", "--memory-per-trial", "2", "--epochs", "2")
    said = ended(start(home, "memory", *flags), 1)
    assert "failed: aae latent_dim=400000: out of memory" in said
    assert "--memory-per-trial" in said
    assert "2 trials, 1 failed; 1 finished runs" in said


def test_a_store_that_is_locked_for_half_a_minute_costs_nothing(undisturbed: Undisturbed) -> None:
    home, expected = undisturbed
    process = start(home, "locked")
    wait_for_state(home, "locked")
    with contextlib.closing(sqlite3.connect(home / "mlflow.db", isolation_level=None)) as store:
        store.execute("BEGIN EXCLUSIVE")
        time.sleep(30)
    ended(process)
    assert outcome(home, "locked") == expected


def test_a_lost_machine_is_replaced_from_the_store(undisturbed: Undisturbed) -> None:
    """Driver, workers and the disk with the sweep's folder are gone; the store has the rest."""
    home, expected = undisturbed
    with s3("sweeps"):
        flags = ("--storage", "s3://sweeps/mine", "--checkpoint-seconds", "0.5")
        process = start(home, "lost", *flags)
        wait_for_state(home, "lost", least=3)
        kill(process.pid, *family(process.pid))
        process.communicate()
        shutil.rmtree(home / "sweeps" / "lost")
        assert went_on(ended(start(home, "lost", *flags, "--resume"))) >= 1
        assert outcome(home, "lost") == expected
        listed = boto3.client("s3").list_objects(Bucket="sweeps")["Contents"]
        left = {found["Key"] for found in listed if found["Size"]}
        assert left == {"mine/lost/sweep.json"}
        assert len(listed) <= 2  # the name of the folder that held the states may stay
