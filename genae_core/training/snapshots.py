"""Generations: a training's state on disk, so that whatever stops it costs little."""

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from genae_core.config import require_finite
from genae_core.data.storage import Folder
from genae_core.training import checkpoint
from genae_core.training.loop import State

KEPT = 2  # generations: the newest, and one before it in case that is broken
NOTICE_S = 25.0  # of the thirty seconds or more between a platform's SIGTERM and its SIGKILL
LONGEST_WAIT_S = 60.0  # before a life that follows others without progress
ASKED = threading.Event()  # whether this process is to end soon


class Preempted(BaseException):
    """The state is kept, and the process is to end: as SystemExit, nothing to be caught."""


def leave_soon(*_: object) -> None:
    """A handler of SIGTERM: the training keeps its state after the step it is at and stops; where
    there is none, the process ends before it is killed."""
    ASKED.set()
    timer = threading.Timer(NOTICE_S, os._exit, (143,))
    timer.daemon = True
    timer.start()


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


class Generations:
    """A `training.Keeper` that writes a folder for each state, whole or not at all, and keeps the
    newest two.

    A generation that is cut or changed is passed over for the one before, loudly; one that cannot
    be written (a full disk) is said, and the training goes on. interval: seconds between them.
    asked: whether the process is to end: the state is kept whatever the interval, and Preempted
    raised. clock: seconds that never go back. kept: hears of the bytes of each state. mirror: a
    folder on a store that outlives this machine, with the same states.
    """

    def __init__(
        self,
        folder: Path,
        interval: float = 60.0,
        asked: Callable[[], bool] = ASKED.is_set,
        clock: Callable[[], float] = time.monotonic,
        warn: Callable[[str], None] = warn,
        kept: Callable[[int], None] = lambda size: None,
        mirror: Folder | None = None,
    ) -> None:
        require_finite(0, interval=interval)
        self.folder, self.interval = folder, interval
        self.asked, self.clock, self.warn = asked, clock, warn
        self.kept, self.mirror = kept, mirror
        self.last = clock()
        self.went_on: int | None = None  # the step at which what was found stands
        self.number = max({*self._here(), *self._there()}, default=0)

    def found(self) -> State | None:
        for number in sorted({*self._here(), *self._there()}, reverse=True):
            path = self._path(number)
            try:
                if not path.exists():
                    self._fetch(path)
                state = State(*checkpoint.read(path))
                self.went_on = state.values.get("step")
                return state
            except (ValueError, OSError) as error:
                self.warn(f"{path.name} cannot be used, going back to the one before: {error}")
        return None

    def due(self) -> bool:
        return self.clock() - self.last >= self.interval or self.asked()

    def keep(self, state: State) -> None:
        self.last = self.clock()
        path = self._path(self.number + 1)
        try:
            checkpoint.write(path, *state)
            self.number += 1
            self._lives.unlink(missing_ok=True)
            self.kept(sum(file.stat().st_size for file in path.iterdir()))
            self._push(path)
        except OSError as error:
            self.warn(f"{path} could not be written, the training goes on without it: {error}")
        for number in self._here():
            if number <= self.number - KEPT:
                shutil.rmtree(self._path(number), ignore_errors=True)
        if self.asked():
            raise Preempted

    def back_off(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Count a life of this training, and wait before it, the longer the more of them there
        were in a row that kept no state."""
        lives = 0
        with contextlib.suppress(OSError, ValueError):
            lives = int(self._lives.read_text())
        if lives:
            sleep(min(2.0 ** (lives - 1), LONGEST_WAIT_S))
        with contextlib.suppress(OSError):  # a full disk is said when a state is kept
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lives.write_text(str(lives + 1))

    def forget(self) -> None:
        """Remove all of them, once what they lead to is safe."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # others are beside it
            self.folder.parent.rmdir()
        if self.mirror is not None:
            with contextlib.suppress(OSError):
                self.mirror.delete()

    def _push(self, path: Path) -> None:
        """Copy a generation to the mirror, its description last: with it, it is complete."""
        if self.mirror is not None:
            for name in (checkpoint.WEIGHTS, checkpoint.DESCRIPTION):
                self.mirror.write(f"{path.name}/{name}", (path / name).read_bytes())
            self._clear(self.number - KEPT)

    def _fetch(self, path: Path) -> None:
        assert self.mirror is not None
        with tempfile.TemporaryDirectory() as scratch:
            for name in (checkpoint.WEIGHTS, checkpoint.DESCRIPTION):
                (Path(scratch) / name).write_bytes(self.mirror.read(f"{path.name}/{name}"))
            shutil.copytree(scratch, path)

    def _clear(self, last: int) -> None:
        """Remove what the mirror has up to this generation."""
        assert self.mirror is not None
        with contextlib.suppress(OSError):  # it is only in the way
            for name in {name.split("/")[0] for name in self._mirrored()}:
                if number_of(name) <= last:
                    self.mirror.delete(name)  # as a folder: one by one, a store keeps its name

    def _mirrored(self) -> list[str]:
        """The files of all generations in the mirror."""
        files = self.mirror.files() if self.mirror is not None else []
        return [file.name for file in files if file.name.startswith("state-")]

    def _there(self) -> list[int]:
        try:
            files = self._mirrored()
        except OSError as error:
            self.warn(f"the states in {self.mirror} cannot be seen: {error}")
            return []
        return [number_of(name) for name in files if name.endswith(checkpoint.DESCRIPTION)]

    def _here(self) -> list[int]:
        names = [path.name for path in self.folder.glob("state-*")]
        return [number_of(name) for name in names if name[6:].isdigit()]

    def _path(self, number: int) -> Path:
        return self.folder / f"state-{number:06}"

    @property
    def _lives(self) -> Path:
        return self.folder / "lives"


def number_of(name: str) -> int:
    """Of a generation, from its folder's name or that of a file in it."""
    return int(name.split("/")[0].removeprefix("state-"))
