"""The signals with which people, terminals and clusters end a program."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

# Ctrl-C; a cluster or `kill`; a terminal that is closed, such as an ssh session that breaks off.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = 130  # the exit code of a program that one of them has ended


class StopSignals:
    """Handles the stop signals alike while a `with` block runs.

    Each of them does what Ctrl-C does: it raises KeyboardInterrupt in the main thread. After
    `note_only`, they are only noted. A signal that the process ignored before, as under nohup, is
    still ignored. At the end the handlers that were found are installed again, also where a
    library has replaced them. Outside of the main thread nothing is handled.

    Attributes:
        names: The names of the signals that came, the first one first.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._raises = True
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            # Ray Tune replaces the handler of SIGUSR1.
            for number in (*STOP_SIGNALS, signal.SIGUSR1):
                self._before[number] = signal.getsignal(number)
            self._install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if handler is not None:  # None was not installed by Python, which cannot bring it back
                signal.signal(number, handler)

    def note_only(self) -> None:
        """From now on, only note the signals in `names`."""
        self._raises = False
        self._install()

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """While the block runs, a signal raises KeyboardInterrupt also after `note_only`."""
        before, self._raises = self._raises, True
        try:
            yield
        finally:
            self._raises = before

    def _install(self) -> None:
        for number in STOP_SIGNALS:
            if self._before.get(number) not in (None, signal.SIG_IGN):
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.names.append(signal.Signals(number).name)
        if not self._raises:
            return
        if number == signal.SIGINT or signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)  # Ray Tune handles Ctrl-C by itself while trials run


def stop_at_once() -> dict[int, Any]:
    """End the process with one line at the first stop signal, from now on.

    This is for a script that still imports its modules, which takes seconds: an exception there
    could be raised inside of a library that is half imported.

    Returns:
        The handlers that were found, for `restore`. A handler of somebody else stays.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    handlers: dict[int, Any] = {}
    for number in STOP_SIGNALS:
        handler = signal.getsignal(number)
        if handler in (signal.SIG_DFL, signal.default_int_handler):
            handlers[number] = handler
            signal.signal(number, _end_process)
    return handlers


def end_at_signal(code: int) -> None:
    """End the process with this exit code at the next stop signal.

    This is for a script that has done everything, while Python ends itself, which takes a second.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, lambda *_: os._exit(code))


def restore(handlers: dict[int, Any]) -> None:
    """Install handlers that `stop_at_once` has returned."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _end_process(*_: object) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"stopped before anything had begun\n")
    os._exit(STOPPED)
