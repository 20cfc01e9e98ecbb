"""Threads sleep while they wait if other programs use the CPUs, and only then."""

import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from genae_core.config import thread_waiting
from genae_core.config.thread_waiting import (
    CHOSEN_BY_USER,
    POLICY,
    CpuTimes,
    choose_thread_waiting,
    cpus_of_others,
    read_cpu_times,
    threads_sleep,
)

START = CpuTimes(now=100.0, idle=50.0, own=1.0)


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable is set, and none stays set after the test."""
    for name in CHOSEN_BY_USER:
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    yield


def machine(
    monkeypatch: pytest.MonkeyPatch, cpus: int, others: list[float], own: float = 1.0
) -> list[float]:
    """A machine of `cpus` CPUs. Of each measured interval, other programs use the next of `others`
    CPUs and this process `own`. Returns the list to which sleeping adds its seconds."""
    slept: list[float] = []
    loads = iter(others)

    def read() -> CpuTimes:
        seconds = 0.1 + sum(slept)
        idle = (cpus - next(loads) - own) * seconds
        return CpuTimes(START.now + seconds, START.idle + idle, START.own + own * seconds)

    clock = SimpleNamespace(perf_counter=lambda: START.now + 0.1, sleep=slept.append)
    monkeypatch.setattr(thread_waiting, "usable_cpus", lambda: cpus)
    monkeypatch.setattr(thread_waiting, "read_cpu_times", read)
    monkeypatch.setattr(thread_waiting, "time", clock)
    return slept


def test_threads_wait_busily_on_a_free_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = machine(monkeypatch, cpus=2, others=[0.2])
    choose_thread_waiting(START)
    assert POLICY not in os.environ and not threads_sleep()
    assert slept == []  # The start takes no longer.


def test_threads_sleep_beside_a_busy_program(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = machine(monkeypatch, cpus=2, others=[1.0, 0.9])
    choose_thread_waiting(START)
    assert os.environ[POLICY] == "PASSIVE" and threads_sleep()
    assert slept == [pytest.approx(0.2)]


def test_a_short_load_at_the_start_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cpus=2, others=[1.0, 0.3])
    choose_thread_waiting(START)
    assert POLICY not in os.environ


@pytest.mark.parametrize("name", CHOSEN_BY_USER)
def test_the_user_s_choice_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    machine(monkeypatch, cpus=2, others=[2.0, 2.0])
    monkeypatch.setenv(name, "ACTIVE")
    choose_thread_waiting(START)
    assert os.environ.get(POLICY) == ("ACTIVE" if name == POLICY else None)


def test_one_thread_has_nobody_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cpus=1, others=[1.0, 1.0])
    choose_thread_waiting(START)
    assert POLICY not in os.environ


@pytest.mark.parametrize(
    ("cpus", "idle", "own", "others"),
    [
        (2, 2.0, 0.0, 0.0),
        (2, 1.0, 1.0, 0.0),  # The process itself is the load.
        (2, 0.0, 1.0, 1.0),
        (2, 0.0, 0.0, 2.0),
        (4, 4.0, 0.0, 0.0),  # A quota of 4 CPUs of 64, of which 60 are busy.
        (4, 40.0, 0.0, 0.0),
    ],
)
def test_the_cpus_of_others(
    monkeypatch: pytest.MonkeyPatch, cpus: int, idle: float, own: float, others: float
) -> None:
    monkeypatch.setattr(thread_waiting, "usable_cpus", lambda: cpus)
    after = CpuTimes(START.now + 1, START.idle + idle, START.own + own)
    assert cpus_of_others(START, after) == pytest.approx(others)


def test_the_clocks_advance() -> None:
    before = read_cpu_times()
    sum(range(10**6))
    after = read_cpu_times()
    assert after.now > before.now
    assert after.own > before.own
    assert after.idle >= before.idle


def test_a_script_chooses_before_torch_is_imported() -> None:
    script = """
import sys
from genae_core.config import cli as door
import genae_core.config.thread_waiting as waiting

def note(since):
    print("torch" in sys.modules, since.now <= waiting.read_cpu_times().now)

door.choose_thread_waiting = note

from dataclasses import dataclass
from genae_core import training

@dataclass
class Options:
    pass

def main(options):
    training.fit
    print("torch" in sys.modules)
    return 0

if __name__ == "__main__":
    sys.exit(door.cli(Options, main, None))
"""
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert printed.split() == ["False", "True", "True"]
