"""The processes of this machine, by ps, and those of one Ray node."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

KILLED_S = 10  # until the system has taken away what was killed


class Process(NamedTuple):
    """One line of ps; `started` tells it from a later process of the same number."""

    pid: int
    parent: int
    started: str
    command: str


def started(pid: int) -> str:
    """When the process did, "" where there is none."""
    return next((p.started for p in _ps() if p.pid == pid), "")


def of_node(leader: int, since: str, folder: str) -> list[Process]:
    """The node's processes: of its leader's session, those that write to its folder, and what
    descends from either; a job has a session of its own, which outlives the leader.

    since: when the leader started. Where it is gone, its number may be another session's by now:
    then only those count that write to the folder (on Linux) or whose command names it.
    """
    everything = _ps()
    led = any(p.pid == leader and p.started == since for p in everything)
    own = {
        p.pid
        for p in everything
        if _writes_below(p.pid, folder)
        or (_session(p.pid) == leader and (led or folder in p.command))
    }
    while more := {p.pid for p in everything if p.parent in own} - own:
        own |= more
    return [p for p in everything if p.pid in own]


def end(processes: list[Process], seconds: float) -> None:
    """Wait for them to end, then kill those that have not."""
    deadline = time.monotonic() + seconds
    while _alive(processes) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in _alive(processes):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + KILLED_S
    while _alive(processes) and time.monotonic() < deadline:
        time.sleep(0.05)


def _alive(processes: list[Process]) -> list[Process]:
    still = {(p.pid, p.started) for p in _ps()}
    return [p for p in processes if (p.pid, p.started) in still]


def _ps() -> list[Process]:
    """Every process but those that have ended and wait to be collected."""
    done = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,lstart=,command="],
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    rows = (line.split(None, 8) for line in done.stdout.splitlines())
    return [
        Process(int(row[0]), int(row[1]), _start(int(row[0]), " ".join(row[3:8])), row[8])
        for row in rows
        if len(row) == 9 and not row[2].startswith("Z")
    ]


def _start(pid: int, said: str) -> str:
    """When it started: on Linux in ticks since boot, for ps may say a second more or less."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[19]
    except OSError:
        return said


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _writes_below(pid: int, folder: str) -> bool:
    """Whether it holds a file of the folder open to write, where the system says (Linux)."""
    with suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            if not os.readlink(f"/proc/{pid}/fd/{number}").startswith(f"{folder}/"):
                continue
            about = Path(f"/proc/{pid}/fdinfo/{number}").read_text().split()
            if int(about[about.index("flags:") + 1], 8) & os.O_ACCMODE != os.O_RDONLY:
                return True
    return False
