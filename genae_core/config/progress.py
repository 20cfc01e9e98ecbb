"""What shows that long work goes on: a bar on a terminal, and elsewhere a line every 30 seconds.

All of genae shows its progress by this module, so only this module imports tqdm. Beside it, a
sweep on a terminal has a bar for each running trial (`sweep.live`).
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

from genae_core.config.console import say

SIGN_OF_LIFE_S = 30.0  # between two lines
REFRESH_S = 1.0  # between two pictures of a bar whose work does not move
DELAY_S = 0.5  # work that takes less time has no bar
USUAL_WIDTH = 79
WITHOUT_COUNT = "{desc} [{elapsed}]"

T = TypeVar("T")

tqdm.monitor_interval = 0  # a display has a thread of its own


class ProgressDisplay:
    """Shows how much of some work is done, and that it goes on while nothing is counted.

    A thread of its own prints the lines, so that they appear whatever the work waits for. It ends
    with the `with` block.

    Args:
        title: What is done, as words for people: "training the classifier of mnist".
        total: How much there is; None if it is not known, or not counted.
        unit: What is counted, in the plural.
    """

    def __init__(self, title: str, total: int | None = None, unit: str = "") -> None:
        self.title, self.unit = title, unit
        self.total, self.done = total, 0
        self.began = self.counted_from = time.monotonic()
        self.first = 0  # how much was done before
        # disable=None shows the bar if the standard error stream is a terminal.
        self.bar = tqdm(
            desc=title,
            total=total,
            unit=f" {unit}",
            bar_format=None if total else WITHOUT_COUNT,
            leave=False,
            delay=DELAY_S,
            disable=None,
            dynamic_ncols=_has_width(),
            ncols=None if _has_width() else USUAL_WIDTH,
            smoothing=0,
        )
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._show_life, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ended.set()
        self.thread.join()
        self.bar.close()

    def begin(self, total: int, done: int = 0) -> None:
        """Say how much there is, and how much of it was done before."""
        self.total, self.done, self.first = total, done, done
        self.counted_from = time.monotonic()
        if not self.bar.disable:  # a disabled bar lacks the most
            self.bar.bar_format = None
            self.bar.total, self.bar.initial, self.bar.n = total, done, done

    def update(self, count: int = 1) -> None:
        """Count what is newly done."""
        self.done += count
        self.bar.update(count)

    def line(self) -> str:
        """How much is done, after which time, and how much time is left, as a log has it."""
        now = time.monotonic()
        done = f"{self.done:,} of {self.total:,} {self.unit}" if self.total else "goes on"
        words = f"  {self.title}: {done} after {duration_words(now - self.began)}"
        if self.total and self.done > self.first:
            pace = (now - self.counted_from) / (self.done - self.first)
            words += f"; about {duration_words(pace * (self.total - self.done))} left"
        return words

    def _show_life(self) -> None:
        while not self.ended.wait(SIGN_OF_LIFE_S if self.bar.disable else REFRESH_S):
            if self.bar.disable:
                say(self.line())
            else:
                self.bar.refresh()


def _has_width() -> bool:
    """Whether the terminal says how wide it is. Some say 0, and a bar of no width is not seen."""
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    return False


def track(items: Sequence[T], title: str, unit: str) -> Iterator[T]:
    """The items one after the other, with the progress of whoever uses them."""
    with ProgressDisplay(title, len(items), unit) as progress:
        for item in items:
            yield item
            progress.update()


def duration_words(seconds: float) -> str:
    """A duration in words: "45 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
