"""Generations: a training's state on disk, so that whatever stops it costs little."""

import contextlib
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from genae_core import checkpoint
from genae_core.config import require_finite
from genae_core.training import State

KEPT = 2  # generations: the newest, and one before it in case that is broken


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


class Generations:
    """A `training.Keeper` that writes a folder for each state, whole or not at all, and keeps the
    newest two.

    A generation that is cut or changed is passed over for the one before, loudly; one that cannot
    be written (a full disk) is said, and the training goes on. interval: seconds between them.
    asked: whether someone wants the state now, whatever the interval. clock: seconds that never
    go back.
    """

    def __init__(
        self,
        folder: Path,
        interval: float = 60.0,
        asked: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        warn: Callable[[str], None] = warn,
    ) -> None:
        require_finite(0, interval=interval)
        self.folder, self.interval = folder, interval
        self.asked, self.clock, self.warn = asked, clock, warn
        self.last = clock()
        self.number = max((number_of(path) for path in self._all()), default=0)

    def found(self) -> State | None:
        for path in sorted(self._all(), key=number_of, reverse=True):
            try:
                return State(*checkpoint.read(path))
            except ValueError as error:
                self.warn(f"{path.name} cannot be used, going back to the one before: {error}")
        return None

    def due(self) -> bool:
        return self.clock() - self.last >= self.interval or self.asked()

    def keep(self, state: State) -> None:
        self.last = self.clock()
        path = self.folder / f"state-{self.number + 1:06}"
        try:
            checkpoint.write(path, *state)
        except OSError as error:
            self.warn(f"{path} could not be written, the training goes on without it: {error}")
            return
        self.number += 1
        for old in self._all():
            if number_of(old) <= self.number - KEPT:
                shutil.rmtree(old, ignore_errors=True)

    def forget(self) -> None:
        """Remove all of them, once what they lead to is safe."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # others are beside it
            self.folder.parent.rmdir()

    def _all(self) -> list[Path]:
        return [path for path in self.folder.glob("state-*") if path.name[6:].isdigit()]


def number_of(path: Path) -> int:
    return int(path.name[6:])
