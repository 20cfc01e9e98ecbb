"""The processes of this machine, and those that belong to one Ray node."""

import os
import signal
import time
from contextlib import suppress
from typing import NamedTuple

import psutil

KILL_TIMEOUT_S = 10  # The system removes a killed process within this time.


class Process(NamedTuple):
    """A process. `started` distinguishes it from a later process with the same `pid`."""

    pid: int
    parent: int
    started: str
    command: str


def start_time(pid: int) -> str:
    """The start time of a process, as in `Process.started`; "" if there is no such process."""
    process = _read(pid)
    return process.started if process is not None else ""


def node_processes(leader: int, leader_started: str, folder: str) -> list[Process]:
    """The processes of a node: the session of its leader, the processes that write to its folder,
    and all descendants of both.

    A job has a session of its own, which outlives the leader. After the leader has ended, its
    number may belong to another session. A process then counts only if it writes to the folder (on
    Linux), or if it is in that session and its command names the folder.
    """
    processes = _list_processes()
    leader_is_alive = any(p.pid == leader and p.started == leader_started for p in processes)
    own = {
        p.pid
        for p in processes
        if _writes_below(p.pid, folder)
        or (_session(p.pid) == leader and (leader_is_alive or folder in p.command))
    }
    while children := {p.pid for p in processes if p.parent in own} - own:
        own |= children
    return [p for p in processes if p.pid in own]


def end_processes(processes: list[Process], timeout_s: float) -> None:
    """Wait until the processes have ended, and kill those that are alive after the timeout."""
    deadline = time.monotonic() + timeout_s
    while _alive(processes) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in _alive(processes):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while _alive(processes) and time.monotonic() < deadline:
        time.sleep(0.05)


def _alive(processes: list[Process]) -> list[Process]:
    return [p for p in processes if start_time(p.pid) == p.started]


def _list_processes() -> list[Process]:
    """Every process except zombies, which have already ended."""
    return [process for pid in psutil.pids() if (process := _read(pid)) is not None]


def _read(pid: int) -> Process | None:
    """A process; None if it has ended, or if only its owner may ask about it."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() != psutil.STATUS_ZOMBIE:
                command = " ".join(process.cmdline())
                return Process(pid, process.ppid(), _start_ticks(process), command)
    return None


def _start_ticks(process: psutil.Process) -> str:
    """The start time in clock ticks since boot, which a change of the clock leaves as it is."""
    since_boot = process.create_time() - psutil.boot_time()
    return str(round(since_boot * os.sysconf("SC_CLK_TCK")))


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _writes_below(pid: int, folder: str) -> bool:
    """Whether the process has a file below the folder open for writing.

    Only Linux says how a file was opened; on other systems the result is False.
    """
    with suppress(psutil.Error):
        files = psutil.Process(pid).open_files()
        return any(
            file.path.startswith(f"{folder}/") and getattr(file, "mode", "r") != "r"
            for file in files
        )
    return False
