"""A sweep on a terminal: a bar for each running trial, and the best result so far.

The lines that a log file would get are printed above them. Only this module imports rich.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from genae_core.report.formatting import decimals
from genae_core.sweep.progress import Board


class LiveBoard(Board):
    """A board with bars.

    Args:
        total: The number of trials; None if a budget ends them.
        fractions: Returns the fraction of its steps that each trial has done, as far as it is
            known.
        console: The terminal.
    """

    def __init__(
        self, total: int | None, fractions: Callable[[], dict[str, float]], console: Console
    ) -> None:
        super().__init__(total)
        self.fractions = fractions
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            refresh_per_second=2,
        )
        self.bars: dict[str, TaskID] = {}
        self.best: tuple[float, str] | None = None
        self.failures = 0
        self.sweep_bar = self.progress.add_task("trials", total=total, status="")

    def on_start(self, trial: str) -> None:
        super().on_start(trial)
        self.bars[trial] = self.progress.add_task(trial, total=1.0, status="training")
        self.tick()

    def on_pause(self, trial: str, percent: int, fcd_val: float) -> None:
        self._drop(trial)
        super().on_pause(trial, percent, fcd_val)

    def on_finish(self, trial: str, fcd_val: float) -> None:
        if self.best is None or fcd_val < self.best[0]:
            self.best = fcd_val, trial
        super().on_finish(trial, fcd_val)

    def on_failure(self, trial: str) -> None:
        self.failures += 1
        super().on_failure(trial)

    def tick(self) -> None:
        fractions = self.fractions()
        for trial, bar in self.bars.items():
            if trial in fractions:
                fraction = fractions[trial]
                status = f"{fraction:.0%}" if fraction < 1 else "chains, metrics"
                self.progress.update(bar, completed=fraction, status=status)
        parts = [f"{self.ended}{f' of {self.total}' if self.total else ''}"]
        if self.failures:
            parts.append(f"{self.failures} failed")
        if self.best is not None:
            fcd, trial = self.best
            parts.append(f"best FCD on validation {fcd:.{decimals(fcd)}f}, {trial}")
        text = "; ".join(parts) + self._time_left()
        self.progress.update(self.sweep_bar, completed=self.ended, status=text)

    def _end(self, trial: str, how: str) -> None:
        self._drop(trial)
        super()._end(trial, how)
        self.tick()

    def _drop(self, trial: str) -> None:
        """Remove the trial's bar."""
        if trial in self.bars:
            self.progress.remove_task(self.bars.pop(trial))

    def _print(self, text: str) -> None:
        self.last_line = self.clock()
        self.progress.console.print(Text(self._line(text)))


@contextmanager
def open_board(
    total: int | None, fractions: Callable[[], dict[str, float]], console: Console | None = None
) -> Iterator[Board]:
    """A board with bars on a terminal, and a board with lines only anywhere else.

    console: The console of the standard output, except in tests.
    """
    console = console or Console()
    if not console.is_terminal or console.is_dumb_terminal:
        yield Board(total)
        return
    live = LiveBoard(total, fractions, console)
    with live.progress:
        yield live
