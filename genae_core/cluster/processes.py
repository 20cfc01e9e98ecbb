"""The processes of this machine as ps lists them, and those that belong to one Ray node."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

KILL_TIMEOUT_S = 10  # The system removes a killed process within this time.


class Process(NamedTuple):
    """A process. `started` distinguishes it from a later process with the same `pid`."""

    pid: int
    parent: int
    started: str
    command: str


def start_time(pid: int) -> str:
    """The start time of a process, as in `Process.started`; "" if there is no such process."""
    return next((p.started for p in _list_processes() if p.pid == pid), "")


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
    current = {(p.pid, p.started) for p in _list_processes()}
    return [p for p in processes if (p.pid, p.started) in current]


def _list_processes() -> list[Process]:
    """Every process except zombies, which have already ended."""
    ps = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,lstart=,command="],
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    processes = []
    for line in ps.stdout.splitlines():
        # The columns are pid, ppid, stat, the five words of lstart, and the command.
        row = line.split(None, 8)
        if len(row) == 9 and not row[2].startswith("Z"):
            pid, parent = int(row[0]), int(row[1])
            started = _exact_start_time(pid, " ".join(row[3:8]))
            processes.append(Process(pid, parent, started, row[8]))
    return processes


def _exact_start_time(pid: int, by_ps: str) -> str:
    """The start time in clock ticks since boot on Linux, and as ps prints it on other systems.

    The time that ps prints may differ by a second between two calls.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[19]
    except OSError:
        return by_ps


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _writes_below(pid: int, folder: str) -> bool:
    """Whether the process has a file below the folder open for writing.

    Only Linux lists the open files; on other systems the result is False.
    """
    with suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            if not os.readlink(f"/proc/{pid}/fd/{number}").startswith(f"{folder}/"):
                continue
            info = Path(f"/proc/{pid}/fdinfo/{number}").read_text().split()
            if int(info[info.index("flags:") + 1], 8) & os.O_ACCMODE != os.O_RDONLY:
                return True
    return False
