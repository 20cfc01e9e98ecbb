"""What is printed while a sweep runs: a line for each event, and from time to time what runs."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from genae_core.config.console import say
from genae_core.config.progress import SIGN_OF_LIFE_S, duration_words
from genae_core.report.formatting import decimals


def write_progress(folder: Path, trial: str, fraction: float) -> None:
    """Write the fraction of its steps that a trial has done to a file in the folder."""
    with contextlib.suppress(OSError):  # the disk may be full, or not be shared
        folder.mkdir(exist_ok=True)
        path = folder / hashlib.sha256(trial.encode()).hexdigest()[:16]
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({trial: fraction}))
        os.replace(partial, path)


def read_progress(folder: Path) -> dict[str, float]:
    """The fractions that `write_progress` has written, by trial."""
    fractions: dict[str, float] = {}
    for path in folder.glob("*"):
        with contextlib.suppress(OSError, ValueError):
            fractions |= json.loads(path.read_text())
    return fractions


class Board:
    """Counts trials and prints one line for each event.

    Args:
        total: The number of trials; None if a budget ends them.
        clock: Returns seconds that never decrease.
    """

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.clock = clock
        self.running: dict[str, float] = {}  # when each running trial started
        self.waiting: dict[str, float] = {}  # what each trial took before it had to wait
        self.at_once = 1  # the most trials that have run at the same time
        self.ended = 0
        self.seconds = 0.0  # that the trials which have ended took, together
        self.last_line = clock()

    def on_start(self, trial: str) -> None:
        """Remember when a trial started, and print it unless a trial has ended already."""
        self.running[trial] = self.clock() - self.waiting.pop(trial, 0.0)
        self.at_once = max(self.at_once, len(self.running))
        if self.ended == 0:
            self._print(f"running {trial}")

    def on_finish(self, trial: str, fcd_val: float) -> None:
        """Print the result of a trial that has done all its steps."""
        self._end(trial, f"done, best FCD on validation {fcd_val:.{decimals(fcd_val)}f}")

    def on_stop(self, trial: str, percent: int, fcd_val: float) -> None:
        """Print that the scheduler has stopped a trial."""
        fcd = f"{fcd_val:.{decimals(fcd_val)}f}"
        self._end(trial, f"stopped at {percent} % of its steps, FCD on validation {fcd}")

    def on_pause(self, trial: str, percent: int, fcd_val: float) -> None:
        """Print that the scheduler lets a trial wait."""
        if trial in self.running:
            self.waiting[trial] = self.clock() - self.running.pop(trial)
        fcd = f"{fcd_val:.{decimals(fcd_val)}f}"
        self._print(f"{trial}: waits at {percent} % of its steps, FCD on validation {fcd}")

    def on_failure(self, trial: str) -> None:
        """Print that a trial has failed."""
        self._end(trial, "FAILED (reason below)")

    def warn(self, trial: str, text: str) -> None:
        """Print each line of a trial's warnings."""
        for line in text.splitlines():
            self._print(f"{trial}: warning: {line}")

    def tick(self) -> None:
        """Print which trials run, if nothing has been printed for SIGN_OF_LIFE_S."""
        if self.running and self.clock() - self.last_line >= SIGN_OF_LIFE_S:
            now = self.clock()
            trials = ", ".join(
                f"{trial} ({now - start:.0f} s)" for trial, start in self.running.items()
            )
            self._print(f"still running {trials}{self._time_left()}")

    def _end(self, trial: str, how: str) -> None:
        seconds = self.waiting.pop(trial, 0.0)  # the scheduler may stop a trial that waits
        if trial in self.running:
            seconds = self.clock() - self.running.pop(trial)
        self.seconds += seconds
        self.ended += 1
        self._print(f"{trial}: {how}, {seconds:.0f} s{self._time_left()}")

    def _time_left(self) -> str:
        """About how long the sweep still takes.

        A trial counts as long as those that have ended, on average, and a trial that takes longer
        as about to end. As many run at the same time as so far.
        """
        if self.total is None or not 0 < self.ended < self.total:
            return ""
        usual = self.seconds / self.ended
        now = self.clock()
        rests = [max(0.0, usual - (now - start)) for start in self.running.values()]
        rests += [max(0.0, usual - seconds) for seconds in self.waiting.values()]
        rests += [usual] * (self.total - self.ended - len(rests))
        seconds = max(sum(rests) / self.at_once, *rests)
        return f"; about {duration_words(seconds)} left" if seconds >= 1 else ""

    def _print(self, text: str) -> None:
        self.last_line = self.clock()
        say(self._line(text))

    def _line(self, text: str) -> str:
        width = len(str(self.total or 100))
        of = f"/{self.total}" if self.total else ""
        return f"[{self.ended:>{width}}{of}] {text}"
