"""A process of its own for the trials: real processes and real signals, without Ray."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from genae_core.sweep.separate_process import describe

pytestmark = pytest.mark.slow  # each test starts processes, and waits for them

# The work tells that it has begun, writes the ids of its processes, and then ends as the test
# wants. Its child is a Ray of its own: it ignores the signals that end others.
SCRIPT = """
import json, os, signal, subprocess, sys, time
from genae_core.config.stop_signals import StopSignals
from genae_core.sweep import separate_process
from genae_core.sweep.separate_process import leave, run_apart

def work(tell):
    server = subprocess.Popen(["sh", "-c", "trap '' INT TERM HUP; sleep 60 & wait; sleep 60"])
    print(json.dumps([os.getpid(), server.pid]), flush=True)
    if {begins}:
        tell(begun=2)
    {body}
    tell(outcome=[1, "two"])

separate_process.GRACE_S, separate_process.EXIT_S = 0.5, 0.5
with StopSignals() as signals:
    began = time.monotonic()
    ending = run_apart(work, lambda: time.sleep({clean_up}), signals)
    print(json.dumps([*ending, time.monotonic() - began, signals.names]), flush=True)
"""


class Run:
    """The script, until its work has begun."""

    def __init__(self, body: str, begins: bool = True, clean_up: float = 0.0) -> None:
        text = SCRIPT.format(body=body, begins=begins, clean_up=clean_up)
        self.process = subprocess.Popen(
            [sys.executable, "-c", text],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.work, self.server = json.loads(self.process.stdout.readline())

    def ending(self) -> tuple[dict[str, Any], str | None, bool, float]:
        """The facts, the reason, whether it was stopped, and the seconds, once it has ended."""
        out, err = self.process.communicate(timeout=30)
        assert self.process.returncode == 0 and err == "", out + err
        facts, why, _, stopped, seconds, _ = json.loads(out)
        assert self.are_gone()
        return facts, why, stopped, seconds

    def are_gone(self) -> bool:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if not any(_lives(pid) for pid in (self.work, self.server)):
                return True
            time.sleep(0.05)
        return False


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_what_the_work_tells_comes_back_and_nothing_is_left() -> None:
    facts, why, stopped, _ = Run("pass").ending()
    assert facts == {"begun": 2, "outcome": [1, "two"]}
    assert why is None and not stopped


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("sys.exit(3)", "SystemExit: 3"),
        ("os._exit(7)", "its process ended itself with exit code 7"),  # as Ray's C++ code does
        ("os.kill(os.getpid(), signal.SIGKILL)", "its process was ended by SIGKILL"),
        ("os.abort()", "its process was ended by SIGABRT"),
        ("leave(tell, 'a server of Ray has ended')", "a server of Ray has ended"),
    ],
)
def test_whatever_ends_the_work_has_a_reason(body: str, why: str) -> None:
    facts, reason, stopped, seconds = Run(body).ending()
    assert (facts, reason, stopped) == ({"begun": 2}, why, False)
    assert seconds < 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("group", [True, False])
def test_a_signal_reaches_the_work_as_ctrl_c(number: signal.Signals, group: bool) -> None:
    run = Run("time.sleep(60)")
    (os.killpg if group else os.kill)(run.process.pid, number)
    facts, why, stopped, seconds = run.ending()
    assert facts == {"begun": 2} and stopped and why == f"it was stopped by {number.name}"
    assert seconds < 5


@pytest.mark.parametrize(
    ("body", "begins", "signals"),
    [
        ("time.sleep(60)", False, 1),  # nothing is lost yet
        ("signal.signal(signal.SIGINT, lambda *_: None); time.sleep(60)", True, 1),  # it hangs
        ("signal.signal(signal.SIGINT, lambda *_: None); time.sleep(60)", True, 3),
    ],
)
def test_work_that_does_not_end_is_killed(body: str, begins: bool, signals: int) -> None:
    run = Run(body, begins)
    time.sleep(0.2)
    for _ in range(signals):
        run.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    facts, _, stopped, seconds = run.ending()
    assert ("begun" in facts) == begins and stopped and seconds < 5


def test_ray_may_not_hang_after_the_work() -> None:
    facts, why, stopped, seconds = Run("pass", clean_up=60.0).ending()
    assert facts["outcome"] == [1, "two"] and why is None and not stopped
    assert seconds < 5


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(60)",
        "os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)",
        "subprocess.run(['sh', '-c', 'while :; do sleep 60 & sleep 0.01; done'])",
    ],
)
@pytest.mark.parametrize("begins", [True, False])
def test_nothing_outlives_the_process_that_waits_for_the_work(
    body: str, begins: bool, group: bool
) -> None:
    run = Run(body, begins)
    if group:
        os.killpg(run.process.pid, signal.SIGKILL)
    else:
        run.process.kill()
    # All of them hold the other end of these pipes, the guard as well.
    run.process.communicate(timeout=10)
    assert run.process.returncode == -signal.SIGKILL
    assert run.are_gone()


def test_the_guard_waits_for_death_alone() -> None:
    run = Run("time.sleep(1)")
    (guard,) = (int(pid) for pid in _children(run.process.pid) if int(pid) != run.work)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guard, number)
    facts, why, stopped, _ = run.ending()
    assert facts["outcome"] == [1, "two"] and why is None and not stopped
    assert not _lives(guard)


def test_an_error_is_described_in_one_line() -> None:
    assert describe(ValueError("one\ntwo")) == "ValueError: one"
    assert describe(AssertionError()) == "AssertionError"
    traced = 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: no\n'
    assert describe(RuntimeError(traced)) == "RuntimeError: ValueError: no"


def test_the_work_may_compute_after_its_parent_has() -> None:
    """As in a script that tries a model before it launches its sweep: GNU's OpenMP would wait for
    the parent's threads."""
    script = """
import json
import torch
from genae_core.config.stop_signals import StopSignals
from genae_core.sweep.separate_process import run_apart

torch.set_num_threads(2)
layer = torch.nn.BatchNorm2d(8)
images = torch.ones(64, 8, 32, 32).contiguous(memory_format=torch.channels_last)

def compute():
    return float(layer(images).sum())

before = compute()
with StopSignals() as signals:
    ending = run_apart(lambda tell: tell(sum=compute()), lambda: None, signals)
print(json.dumps([before, ending.facts, ending.why, compute()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    before, facts, why, after = json.loads(done.stdout)
    assert why is None
    assert before == facts["sum"] == after == pytest.approx(0, abs=1e-2)
