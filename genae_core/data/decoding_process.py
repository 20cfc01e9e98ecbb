"""The process that decodes pictures with Pillow, within limits of time and memory.

A damaged or hostile file can keep a decoder busy for hours, take all memory or crash it. In a
process of its own, it ends only that process, and the next file gets a new one.
"""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from multiprocessing.connection import Pipe
from typing import Any

from genae_core.data import pillow_decoding
from genae_core.data.pillow_decoding import Square

MAX_SECONDS = 60.0  # of CPU time, so that it does not matter how busy the machine is
MAX_BYTES = 3 * 2**30
# The file is run by its path, since it needs nothing of genae; -P keeps the files beside it from
# hiding modules of other packages.
COMMAND = ("-P", pillow_decoding.__file__)


class NotStartedError(OSError):
    """The process that decodes pictures cannot be started, so no file can be judged."""


class _EndedError(Exception):
    """The process has ended before it answered."""

    def __init__(self, exit_code: int) -> None:
        self.by_time_limit = exit_code == -signal.SIGPROF
        code = f"exit code {exit_code}"
        if exit_code < 0:
            code = signal.Signals(-exit_code).name
        reason = f"its decoder crashed ({code})"
        if self.by_time_limit:
            reason = f"decoding it takes more than {MAX_SECONDS:g} seconds"
        super().__init__(reason)


class DecodingProcess:
    """A process that decodes one file after the other. It starts at the first file.

    It ends with this process, because it then reaches the end of its pipe.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner = 0  # the process that may use the pipe; a fork of it may not
        self.process: subprocess.Popen[bytes] | None = None
        self.connection: Any = None

    def read_square(self, content: bytes, crop: float, max_pixels: int) -> Square:
        """Call `pillow_decoding.read_square` in the process.

        Raises:
            ValueError: As in `read_square`; or the file takes too much time or memory, or its
                decoder crashes.
            NotStartedError: The process cannot be started.
        """
        request = json.dumps({"crop": crop, "max_pixels": max_pixels}).encode()
        with self.lock:
            try:
                answer, pixels = self._ask(request, content)
            except _EndedError as end:
                if end.by_time_limit:
                    raise ValueError(str(end)) from None
                try:  # Something else may have ended the process, such as a lack of memory.
                    answer, pixels = self._ask(request, content)
                except _EndedError as again:
                    raise ValueError(str(again)) from None
        if "reason" in answer:
            raise ValueError(answer["reason"])
        return Square(**answer, pixels=pixels)

    def stop(self) -> None:
        """End the process, if it runs."""
        with self.lock:
            self._stop()

    def _ask(self, request: bytes, content: bytes) -> tuple[dict[str, Any], bytes]:
        """Send a file and return the two parts of the answer."""
        if self.process is None or self.owner != os.getpid():
            self._start()
        try:
            self.connection.send_bytes(request)
            self.connection.send_bytes(content)
            return json.loads(self.connection.recv_bytes()), self.connection.recv_bytes()
        except (EOFError, OSError):
            raise _EndedError(self._stop()) from None
        except BaseException:
            self._stop()  # The rest of its answer would be taken for the answer to the next file.
            raise

    def _start(self) -> None:
        """Start the process."""
        ours, theirs = Pipe()
        limits = (str(theirs.fileno()), str(MAX_SECONDS), str(MAX_BYTES))
        command = [sys.executable, *COMMAND, *limits]
        with theirs:
            try:
                # In a session of its own, it is not ended by the Ctrl-C that this process handles.
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise NotStartedError(
                    f"cannot start a process to decode pictures: {error}"
                ) from error
        self.connection, self.owner = ours, os.getpid()
        try:
            self.connection.recv_bytes()
        except (EOFError, OSError):
            code = self._stop()
            raise NotStartedError(
                f"the process that decodes pictures ended when it started, with exit code {code}"
            ) from None
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> int:
        """End the process and return its exit code."""
        process, self.process = self.process, None
        if process is None or self.owner != os.getpid():
            return 0
        self.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
        process.kill()
        return process.wait()


DECODING = DecodingProcess()
atexit.register(DECODING.stop)
