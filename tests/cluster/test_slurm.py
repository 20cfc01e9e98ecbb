"""The job of Slurm, with stand-ins for srun and scontrol on one node."""

import contextlib
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from contracts.databases import new_store
from mlflow.tracking import MlflowClient

from genae_core.cluster import batch_node
from genae_core.config.machine import usable_cpus

ROOT = Path(__file__).resolve().parents[2]
JOB = ROOT / "cluster" / "slurm" / "sweep.sbatch"
STUDY = ROOT / "sweeps" / "latent_dim.py"
# srun runs its command on every node; here there is one.
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
export SLURM_NODEID=0 SLURM_PROCID=0
exec "$@"
"""
SCONTROL = """#!/bin/bash
echo "$@" >>"$SCONTROL_LOG"
"""
# A study that says what it was called with, and how a signal reaches it.
FAKE_STUDY = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
print("called", *sys.argv[1:], "at", os.environ.get("RAY_ADDRESS"), flush=True)
time.sleep(float(os.environ["STUDY_SECONDS"]))
sys.exit(int(os.environ.get("STUDY_CODE", 0)))
"""
CALLED_S = 0.5  # after which the fake study, whose process is known, has its handler


class Slurm:
    """A node of Slurm that runs the job.

    Args:
        folder: The folder from which the job is submitted.
        scratch: The disk of the node. Its name is short, because Ray's sockets lie there.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder, self.scratch = folder, scratch
        self.home, self.programs = folder / "home", folder / "bin"
        self.home.mkdir()
        self.programs.mkdir()
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)
        self.log = folder / "scontrol.log"
        self.restarts = 0
        self.jobs: list[subprocess.Popen[str]] = []

    def start(
        self, *arguments: str, command: tuple[str, ...] = ("bash", str(JOB)), **more: str
    ) -> subprocess.Popen[str]:
        """Start the job, as Slurm starts it on the first of its nodes."""
        path = (str(self.programs), str(Path(sys.executable).parent), os.environ["PATH"])
        variables = {
            **os.environ,
            "PATH": os.pathsep.join(path),
            "PYTHONPATH": str(ROOT),
            "GENAE_HOME": str(self.home),
            "GENAE_SCRATCH": str(self.scratch),
            "OMP_NUM_THREADS": "1",
            "SCONTROL_LOG": str(self.log),
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NAME": "genae",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_CPUS_ON_NODE": "2",
            "SLURM_RESTART_COUNT": str(self.restarts),
            **more,
        }
        self.restarts += 1
        process = subprocess.Popen(
            [*command, *arguments],
            env=variables,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.jobs.append(process)
        return process

    def wait_for_study(self) -> int:
        """The process of the study, once it runs."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for path in self.scratch.glob("genae-7/pid"):
                with contextlib.suppress(ValueError):
                    return int(path.read_text())
            time.sleep(0.02)
        raise AssertionError("the study has not begun within a minute")

    def wait_for_snapshot(self) -> None:
        deadline = time.monotonic() + 120
        while not any((self.home / "sweeps" / "genae-7" / "states").glob("*/state-*")):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @property
    def requeued(self) -> int:
        return self.log.read_text().count("requeue 7") if self.log.exists() else 0


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    scratch = Path(tempfile.mkdtemp(prefix="genae-", dir="/tmp"))
    node = Slurm(tmp_path, scratch)
    try:
        yield node
    finally:
        for job in node.jobs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
            job.wait()
        shutil.rmtree(scratch)


@pytest.fixture
def study(slurm: Slurm) -> str:
    (slurm.folder / "study.py").write_text(FAKE_STUDY)
    return "study.py"


def output(job: subprocess.Popen[str], code: int) -> str:
    """What the job printed, after it has ended with this exit code."""
    try:
        printed, _ = job.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        printed, _ = job.communicate()
    assert job.returncode == code, printed
    return printed


def outcome(home: Path) -> Counter[tuple[str, str]]:
    """The number of runs with each key and status."""
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.sweep = 'genae-7'")
    return Counter((run.data.tags["key"], run.info.status) for run in runs)


def assert_one_run_for_each_key(home: Path, keys: int) -> None:
    runs = outcome(home)
    assert len(runs) == keys and set(runs.values()) == {1}
    assert {status for _, status in runs} == {"FINISHED"}


@pytest.mark.slow
def test_a_study_gets_a_name_that_outlives_the_job_and_its_exit_code_counts(
    slurm: Slurm, study: str
) -> None:
    printed = output(slurm.start(study, "--x", "a b", STUDY_SECONDS="0", STUDY_CODE="1"), 1)
    assert "called --x a b --name genae-7 --resume auto at None" in printed
    quick = {"STUDY_SECONDS": "0", "RAY_ADDRESS": "elsewhere:1"}
    printed = output(slurm.start(study, "--name", "mine", "--resume", **quick), 0)
    assert "called --name mine --resume at None" in printed
    assert slurm.requeued == 0 and not any(slurm.scratch.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("restarts", "requeued", "code"), [(0, 1, 130), (50, 0, 2)])
def test_before_its_time_limit_the_job_stops_the_study_and_is_queued_again(
    slurm: Slurm, study: str, restarts: int, requeued: int, code: int
) -> None:
    slurm.restarts = restarts
    job = slurm.start(study, STUDY_SECONDS="60")
    slurm.wait_for_study()
    time.sleep(CALLED_S)
    job.send_signal(signal.SIGTERM)
    printed = output(job, code)
    assert slurm.requeued == requeued
    assert ("queued again 50 times" in printed) == (not requeued)
    assert not any(slurm.scratch.iterdir())


@pytest.mark.slow
def test_a_sweep_that_ends_when_the_signal_arrives_is_not_queued_again(
    slurm: Slurm, study: str
) -> None:
    (slurm.folder / study).write_text(FAKE_STUDY.replace("sys.exit(130)", "sys.exit(0)"))
    job = slurm.start(study, STUDY_SECONDS="60")
    slurm.wait_for_study()
    time.sleep(CALLED_S)
    job.send_signal(signal.SIGTERM)
    output(job, 0)
    assert slurm.requeued == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "name the study, as in: sbatch cluster/slurm/sweep.sbatch"),
        (("nowhere.py",), "there is no study nowhere.py in"),
    ],
)
def test_a_job_without_a_study_is_one_message(
    slurm: Slurm, arguments: tuple[str, ...], reason: str
) -> None:
    printed = output(slurm.start(*arguments), 2)
    assert printed.startswith("error: ") and reason in printed and printed.count("\n") == 1


SWEEP = (
    *("--smoke", "--families", "vae", "--latent-dims", "2", "3", "--epochs", "30"),
    *("--precision", "fp32", "--checkpoint-seconds", "0.2", "--trials-in-parallel", "1"),
)


@pytest.mark.slow
def test_a_sweep_that_is_queued_again_ends_with_one_run_for_each_key(slurm: Slurm) -> None:
    new_store(slurm.home)
    job = slurm.start(str(STUDY), *SWEEP)
    slurm.wait_for_snapshot()
    job.send_signal(signal.SIGTERM)
    printed = output(job, 130)
    assert "the sweep genae-7 is new" in printed and "to continue: the same command" in printed
    assert printed.strip().splitlines()[-1] == "the job is queued again"
    assert slurm.requeued == 1
    printed = output(slurm.start(str(STUDY), *SWEEP), 0)
    assert "the sweep genae-7 is continued" in printed and "it continued from step" in printed
    assert_one_run_for_each_key(slurm.home, 2)
    assert slurm.requeued == 1 and not any(slurm.scratch.iterdir())


@pytest.mark.faults
def test_a_node_that_dies_and_a_time_limit_leave_one_run_for_each_key(slurm: Slurm) -> None:
    """Slurm queues the job of a dead node again by itself."""
    new_store(slurm.home)
    job = slurm.start(str(STUDY), *SWEEP)
    slurm.wait_for_snapshot()
    study = psutil.Process(slurm.wait_for_study())
    for process in (study, *study.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    job = slurm.start(str(STUDY), *SWEEP)
    time.sleep(4)  # it imports its modules, or prepares the sweep
    job.send_signal(signal.SIGTERM)
    output(job, 130)
    output(slurm.start(str(STUDY), *SWEEP), 0)
    assert_one_run_for_each_key(slurm.home, 2)


# Two nodes: each has a CPU, processes and a network card of its own, and both see the same files.
# The first one runs the job, and sends it SIGTERM once there is a file `stop`.
NODES = """
set -e
start() {
    taskset -c "$2" \\
        unshare --net --pid --fork --kill-child --mount-proc bash -ec "$3" node "${@:4}" &
    eval "$1=$!"
}
start second ${CPUS#*,} 'until ip link set b0 up 2>/dev/null; do sleep 0.1; done
    ip addr add 10.77.0.2/24 dev b0; ip link set lo up
    ip route add default via 10.77.0.1  # by it Ray finds the address of its node
    python "$SLURMD"'
start first ${CPUS%,*} 'until ip link set a0 up 2>/dev/null; do sleep 0.1; done
    ip addr add 10.77.0.1/24 dev a0; ip link set lo up
    ip route add default via 10.77.0.2  # by it Ray finds the address of its node
    bash "$JOB" "$@" & job=$!
    while kill -0 $job && [ ! -e stop ]; do sleep 0.2; done
    kill -TERM $job || true
    code=0; wait $job || code=$?; exit $code' "$@"
ip link add a0 type veth peer name b0
sleep 0.5  # both have their network by now
ip link set a0 netns $first
ip link set b0 netns $second
code=0; wait $first || code=$?
kill $second || true
exit $code
"""
SRUN_ON_TWO = """#!{python}
import json, os, subprocess, sys
words = sys.argv[1:]
while words[0].startswith("-"):
    words.pop(0)
with open("order.new", "w") as file:
    json.dump([words, {{**os.environ, "SLURM_NODEID": "1"}}], file)
os.rename("order.new", "order")
sys.exit(subprocess.call(words, env={{**os.environ, "SLURM_NODEID": "0"}}))
"""
SLURMD = """
import json, os, time
while not os.path.exists("order"):
    time.sleep(0.1)
with open("order") as file:
    words, variables = json.load(file)
os.execvpe(words[0], words, variables)
"""
TWO_NODES = os.geteuid() == 0 and all(map(shutil.which, ("ip", "taskset", "unshare")))


@pytest.mark.faults
@pytest.mark.skipif(
    not TWO_NODES, reason="no real nodes: root, ip, taskset and unshare are needed"
)
def test_a_sweep_over_two_nodes_is_stopped_queued_again_and_ends(slurm: Slurm) -> None:
    new_store(slurm.home)
    (slurm.programs / "srun").write_text(SRUN_ON_TWO.format(python=sys.executable))
    (slurm.folder / "slurmd.py").write_text(SLURMD)
    cpus = sorted(os.sched_getaffinity(0))
    variables = {
        "CPUS": f"{cpus[0]},{cpus[-1]}",
        "JOB": str(JOB),
        "SLURMD": str(slurm.folder / "slurmd.py"),
        "SLURM_JOB_NUM_NODES": "2",
        "SLURMD_NODENAME": "node0",
    }
    flags = (*SWEEP[:-2], "--shared-storage")
    command = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c")
    command = (*command, NODES, "nodes")
    job = slurm.start(str(STUDY), *flags, command=command, **variables)
    slurm.wait_for_snapshot()
    (slurm.folder / "stop").touch()
    printed = output(job, 130)
    assert "2 trials at a time" in printed and "to continue: the same command" in printed
    assert slurm.requeued == 1
    (slurm.folder / "stop").unlink()
    (slurm.folder / "order").unlink()
    job = slurm.start(str(STUDY), *flags, command=command, **variables)
    assert "the sweep genae-7 is continued" in output(job, 0)
    assert_one_run_for_each_key(slurm.home, 2)


def test_a_node_offers_what_the_job_may_use_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert batch_node.main(["flags"]) == 0
    flags = dict(word.split("=") for word in capsys.readouterr().out.split())
    assert flags["--num-cpus"] == str(usable_cpus())
    assert int(flags["--memory"]) > 0 and int(flags["--object-store-memory"]) > 75 * 2**20
    with socket.socket() as listener:
        listener.bind(("", int(flags["--ray-client-server-port"])))  # it is free


def test_the_head_has_an_address_that_other_nodes_reach(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also if its name stands for loopback only, as on Debian."""
    card, loopback = (
        SimpleNamespace(family=socket.AF_INET, address=ip) for ip in ("10.1.2.3", "127.0.0.1")
    )
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"lo": [loopback], "eth0": [card]})
    for named in ("127.0.1.1", "10.1.2.3", "10.9.9.9"):
        info = [(socket.AF_INET, 1, 6, "", (named, 0))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, info=info: info)
        assert batch_node.head_ip() == "10.1.2.3"
    assert batch_node.main(["address"]) == 0
    ip, port = capsys.readouterr().out.strip().split(":")
    assert not ipaddress.ip_address(ip).is_loopback and 1024 <= int(port) < 65536
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"lo": [loopback]})
    assert batch_node.main(["address"]) == 2
    assert "has no address that another node could reach" in capsys.readouterr().err


def test_the_token_is_made_once_for_this_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path))
    assert batch_node.main(["token"]) == batch_node.main(["token"]) == 0
    first, second = capsys.readouterr().out.split()
    assert first == second and (Path(first).stat().st_mode & 0o777) == 0o600
    assert batch_node.main(["tokens"]) == 2
    assert "ask for address, flags or token, got 'tokens'" in capsys.readouterr().err
