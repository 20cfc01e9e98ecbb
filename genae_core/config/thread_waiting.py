"""How the threads of a computation wait for each other, chosen by what else the machine does.

torch divides a product among its threads with OpenMP. A thread that has finished its share waits
for the others in a busy loop, which is fastest if each thread has a core. If another program has a
core, the loop takes the time from the very thread that it waits for, and a training becomes many
times slower. Threads that sleep instead lose a third of their speed on a free machine.

OpenMP reads the choice when torch is imported. It holds for the process and for those that it
starts, also if the load changes later.
"""

import os
import time
from typing import NamedTuple

import psutil

from genae_core.config.machine import usable_cpus

POLICY = "OMP_WAIT_POLICY"
# A user chooses with one of these: OpenMP's own variable, or those of GNU's or LLVM's library.
CHOSEN_BY_USER = (POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SECONDS = 0.3  # the time over which a load is measured; a clock of the system has ticks of 10 ms
TOLERATED = 0.5  # CPUs that other programs may use before the threads sleep


class CpuTimes(NamedTuple):
    """Clocks at one moment, in seconds.

    Attributes:
        now: The clock on the wall.
        idle: The sum of the idle times of the CPUs on which this process may run.
        own: The time that this process has computed.
    """

    now: float
    idle: float
    own: float


def read_cpu_times() -> CpuTimes:
    """Read the clocks."""
    allowed = _allowed()
    times = psutil.cpu_times(percpu=True)
    idle = sum(
        cpu.idle + getattr(cpu, "iowait", 0.0)
        for number, cpu in enumerate(times)
        if allowed is None or number in allowed
    )
    return CpuTimes(time.perf_counter(), idle, time.process_time())


def _allowed() -> set[int] | None:
    """The numbers of the CPUs on which this process may run; None are all."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def cpus_of_others(before: CpuTimes, after: CpuTimes) -> float:
    """The number of this process's CPUs that other programs took between two moments.

    A process that may use 4 CPUs of a machine of 64, and of which 60 are busy, loses none.
    """
    seconds = max(after.now - before.now, 1e-3)
    free = (after.idle - before.idle + after.own - before.own) / seconds
    return max(0.0, usable_cpus() - free)


def threads_sleep() -> bool:
    """Whether threads sleep while they wait, by the choice of this process or of its user."""
    return os.environ.get(POLICY, "").upper() == "PASSIVE"


def choose_thread_waiting(since: CpuTimes) -> None:
    """Let the threads of this process sleep while they wait, if other programs use its CPUs.

    Call it before torch is imported. It sets OMP_WAIT_POLICY, unless the user has chosen.

    Args:
        since: The clocks when the process began. The load since then is measured, and for
            `SECONDS` if it may be too high.
    """
    if usable_cpus() == 1 or any(name in os.environ for name in CHOSEN_BY_USER):
        return
    if cpus_of_others(since, read_cpu_times()) < TOLERATED:
        return
    time.sleep(max(0.0, SECONDS - (time.perf_counter() - since.now)))
    if cpus_of_others(since, read_cpu_times()) >= TOLERATED:
        os.environ[POLICY] = "PASSIVE"
