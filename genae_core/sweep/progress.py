"""What a person sees while a sweep runs: a line as a trial ends, and a sign of life between."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from genae_core.report.formatting import decimals

SIGN_OF_LIFE_S = 30


def note_share(folder: Path, name: str, share: float) -> None:
    """Leave word of what of a trial's steps is done, for those who see this folder."""
    with contextlib.suppress(OSError):  # a full disk, or one that is not shared
        folder.mkdir(exist_ok=True)
        path = folder / hashlib.sha256(name.encode()).hexdigest()[:16]
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({name: share}))
        os.replace(partial, path)


def noted_shares(folder: Path) -> dict[str, float]:
    """By trial, what `note_share` has left."""
    found: dict[str, float] = {}
    for path in folder.glob("*"):
        with contextlib.suppress(OSError, ValueError):
            found |= json.loads(path.read_text())
    return found


class Board:
    """Counts trials and prints one line an event.

    total: trials in all, None where a budget ends them. clock: seconds, for tests.
    """

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.clock = clock
        self.began = clock()
        self.running: dict[str, float] = {}
        self.ended = 0
        self.spoke = self.began

    def started(self, name: str) -> None:
        self.running[name] = self.clock()
        if self.ended == 0:
            self._say(f"running {name}")

    def finished(self, name: str, fcd_val: float) -> None:
        self._end(name, f"done, best FCD on validation {fcd_val:.{decimals(fcd_val)}f}")

    def stopped(self, name: str, percent: int, fcd_val: float) -> None:
        fcd = f"{fcd_val:.{decimals(fcd_val)}f}"
        self._end(name, f"stopped at {percent} % of its steps, FCD on validation {fcd}")

    def paused(self, name: str, percent: int, fcd_val: float) -> None:
        self.running.pop(name, None)
        fcd = f"{fcd_val:.{decimals(fcd_val)}f}"
        self._say(f"{name}: waits at {percent} % of its steps, FCD on validation {fcd}")

    def failed(self, name: str) -> None:
        self._end(name, "FAILED (reason below)")

    def warn(self, name: str, text: str) -> None:
        for line in text.splitlines():
            self._say(f"{name}: warning: {line}")

    def tick(self) -> None:
        """Print what is running when nothing has been said for a while."""
        if self.running and self.clock() - self.spoke >= SIGN_OF_LIFE_S:
            now = self.clock()
            names = ", ".join(
                f"{name} ({now - began:.0f} s)" for name, began in self.running.items()
            )
            self._say(f"still running {names}{self._left()}")

    def _end(self, name: str, how: str) -> None:
        took = self.clock() - self.running.pop(name, self.clock())
        self.ended += 1
        self._say(f"{name}: {how}, {took:.0f} s{self._left()}")

    def _left(self) -> str:
        if self.total is None or not 0 < self.ended < self.total:
            return ""
        seconds = (self.clock() - self.began) / self.ended * (self.total - self.ended)
        return f"; about {_duration(seconds)} left"

    def _say(self, text: str) -> None:
        self.spoke = self.clock()
        print(self._line(text), flush=True)

    def _line(self, text: str) -> str:
        width = len(str(self.total or 100))
        of = f"/{self.total}" if self.total else ""
        return f"[{self.ended:>{width}}{of}] {text}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
