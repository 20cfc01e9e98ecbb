"""The trials of a sweep in a process of their own, so that whatever ends it can be answered.

Ray's C++ code ends the process that has joined it, without an exception, when one of Ray's servers
dies. The process that the user started therefore never joins Ray: it forks one that does, waits
for it, and has all that it needs to conclude the sweep. A second fork, the guard, ends what is
left of Ray if the process that the user started is killed.
"""

import contextlib
import ctypes
import io
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import psutil
from threadpoolctl import ThreadpoolController

from genae_core.config.console import flush_output
from genae_core.config.stop_signals import StopSignals

GRACE_S = 3.0  # after a stop signal, the time in which Tune may end the trials by itself
EXIT_S = 10.0  # the time in which Ray may stop its processes after the work has ended
KILLED_S = 3.0  # the time in which the system removes killed processes
POLL_S = 0.1
PR_SET_PDEATHSIG = 1  # of Linux's prctl
OMP_PAUSE_HARD = 2  # of OpenMP 5.0

# Called with facts by name, as JSON values, which outlive the process that calls it.
Tell = Callable[..., None]


class Ending(NamedTuple):
    """How the work has ended.

    Attributes:
        facts: What the work told before it ended.
        why: Why it ended early; None if it ended by itself.
        details: The traceback of an exception, else "".
        stopped: Whether Ctrl-C or another stop signal ended it.
    """

    facts: dict[str, Any]
    why: str | None
    details: str = ""
    stopped: bool = False


def run_here(work: Callable[[Tell], None], signals: StopSignals) -> Ending:
    """Call the work in this process. Any exception becomes its ending, also of a stop signal."""
    facts: dict[str, Any] = {}
    try:
        with signals.raising():
            work(lambda **more: facts.update(more))
    except KeyboardInterrupt:
        return Ending(facts, "it was interrupted", stopped=True)
    except BaseException as error:  # Ray raises SystemExit too
        return Ending(facts, describe(error), traceback.format_exc())
    return Ending(facts, None)


def run_apart(
    work: Callable[[Tell], None], clean_up: Callable[[], None], signals: StopSignals
) -> Ending:
    """Call the work in a process of its own, in a session of its own.

    A stop signal is passed on to it if the work has told that it has `begun`, and it then has
    GRACE_S to end. Otherwise, and at a second signal, it is killed with all its processes. None of
    its session is left when this function returns, or within seconds if this process is killed.

    Args:
        work: The work.
        clean_up: Called in that process when the work has ended. It may take EXIT_S.
        signals: The signals that this process receives. From now on they are only noted.
    """
    flush_output()
    signals.note_only()
    end_openmp_threads()
    reader, writer = os.pipe()
    begin, guarded = os.pipe()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        os.close(reader)
        _die_with(parent)
        os.read(begin, 1)
        _be_child(work, clean_up, writer, signals)
    os.close(writer)
    with _guard(child, guarded):
        ending = _Watch(child, reader, signals).wait()
    for handle in (reader, begin, guarded):
        os.close(handle)
    return ending


def leave(tell: Tell, why: str) -> NoReturn:
    """End this process, which `run_apart` has made, at once and from any thread."""
    tell(_why=why, _details="")
    flush_output()
    os._exit(1)


def can_fork() -> bool:
    """Whether the work can have a process of its own.

    A notebook's process, or one of a server, has threads that a fork would lose. Only a script on
    Linux, of which this is the main thread, is known to have none that matter.
    """
    cli: Any = sys.modules.get("genae_core.config.cli")
    in_script = cli is not None and cli.is_running()
    in_main_thread = threading.current_thread() is threading.main_thread()
    return in_script and in_main_thread and sys.platform == "linux"


def describe(error: BaseException) -> str:
    """The type of an error and its reason in one line.

    The text of an error that Ray passes on is a traceback, whose last line is the reason.
    """
    lines = [line for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    traced = any(line.lstrip().startswith(("Traceback ", 'File "')) for line in lines)
    return f"{type(error).__name__}: {lines[-1 if traced else 0].strip()}"


def end_openmp_threads() -> None:
    """End the threads with which torch has computed in this process; they start anew when needed.

    A forked process has none of them. GNU's OpenMP does not notice that, and the first product in
    it would wait for them for ever.
    """
    for library in ThreadpoolController().select(user_api="openmp").lib_controllers:
        pause = getattr(library.dynlib, "omp_pause_resource_all", None)  # since OpenMP 5.0
        if pause is not None:
            pause(OMP_PAUSE_HARD)


def _die_with(parent: int) -> None:
    """Let the system kill this process when its parent dies (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextlib.contextmanager
def _guard(leader: int, guarded: int) -> Iterator[None]:
    """During the block, a process stands by that kills the leader's session if this one dies.

    The leader and Ray's servers die at once then, but Ray's agents would first report that to the
    dead GCS, which takes them a minute, and a server that is just being started may live on.

    guarded: The guard writes here when it stands by. The leader starts nothing before.
    """
    end, held = os.pipe()
    guard = os.fork()
    if guard == 0:
        os.close(held)
        _be_guard(leader, guarded, end)
    os.close(end)
    try:
        yield
    finally:
        os.kill(guard, signal.SIGKILL)
        os.waitpid(guard, 0)
        os.close(held)


def _be_guard(leader: int, guarded: int, end: int) -> NoReturn:
    """Wait until no process holds the other end of `end`, and kill the leader's session."""
    try:
        os.setsid()  # what kills the group of the parent shall not kill its guard
        os.write(guarded, b"\n")
        os.read(end, 1)
        kill_session(leader)
    finally:
        os._exit(0)


def _be_child(
    work: Callable[[Tell], None], clean_up: Callable[[], None], writer: int, signals: StopSignals
) -> None:
    """Do the work, tell how it ended, and end this process without Python's own end."""
    lock = threading.Lock()

    def tell(**facts: Any) -> None:
        with lock:
            _write_all(writer, json.dumps(facts).encode() + b"\n")

    code = 1
    try:
        # Ctrl-C and a closed terminal reach the parent alone, which decides what they mean.
        os.setsid()
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # a process that is killed flushes nothing
        ending = run_here(lambda _: work(tell), signals)
        tell(_why=ending.why, _details=ending.details)
        clean_up()
        code = 0
    finally:
        flush_output()
        os._exit(code)


def _write_all(handle: int, text: bytes) -> None:
    while text:
        text = text[os.write(handle, text) :]


class _Watch:
    """The parent's view of the child until it has ended."""

    def __init__(self, child: int, reader: int, signals: StopSignals) -> None:
        self.child, self.reader, self.signals = child, reader, signals
        self.facts: dict[str, Any] = {}
        self.text = b""
        self.status: int | None = None
        self.deadline: float | None = None
        self.killed = False

    def wait(self) -> Ending:
        while self.status is None:
            self._read(POLL_S)
            ended, status = os.waitpid(self.child, os.WNOHANG)
            if ended:
                self.status = status
            else:
                self._act()
        while self._read(0.0):
            pass
        kill_session(self.child)
        names = self.signals.names
        if "_why" in self.facts:
            why, details = self.facts.pop("_why"), self.facts.pop("_details")
        else:
            why, details = _describe_status(self.status), ""
        if names:
            return Ending(self.facts, f"it was stopped by {names[0]}", details, stopped=True)
        return Ending(self.facts, why, details)

    def _act(self) -> None:
        """Pass on a first signal, and kill the child if it takes too long to end."""
        names = self.signals.names
        now = time.monotonic()
        if "_why" in self.facts and self.deadline is None:
            self.deadline = now + EXIT_S
        if self.killed:
            return
        if names and "begun" not in self.facts:
            self._kill()
        elif len(names) == 1 and self.deadline is None:
            self.deadline = now + GRACE_S
            os.kill(self.child, signal.SIGINT)
        elif len(names) > 1 or (self.deadline is not None and now > self.deadline):
            self._kill()

    def _kill(self) -> None:
        self.killed = True
        os.kill(self.child, signal.SIGKILL)
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[?25h\n")  # a board of bars has hidden the cursor

    def _read(self, seconds: float) -> bool:
        """Read what the child tells. Returns False if there is nothing, or never again."""
        ready, _, _ = select.select([self.reader], [], [], seconds)
        piece = os.read(self.reader, 2**16) if ready else b""
        *lines, self.text = (self.text + piece).split(b"\n")
        for line in lines:
            self.facts |= json.loads(line)
        if ready and not piece:
            time.sleep(seconds)  # it is at the end, and select would not wait
        return bool(piece)


def _describe_status(status: int) -> str:
    """Why a process ended that could not tell."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"its process ended itself with exit code {code}"
    return f"its process was ended by {signal.Signals(-code).name}"


def kill_session(leader: int) -> None:
    """Kill every process of the leader's session, and wait until the system has removed them."""
    deadline = time.monotonic() + KILLED_S
    while (members := _members(leader)) and time.monotonic() < deadline:
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        time.sleep(0.02)


def _members(leader: int) -> list[int]:
    """The living processes of a session."""
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
    return members
