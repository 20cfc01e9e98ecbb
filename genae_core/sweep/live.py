"""A sweep on a terminal: a bar for each running trial, the best so far, and above them the lines
that a file would get. The only importer of rich."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from genae_core.report.formatting import decimals
from genae_core.sweep.progress import Board


class LiveBoard(Board):
    """shares: {a trial's name: what of its steps is done}, where that can be known."""

    def __init__(
        self, total: int | None, shares: Callable[[], dict[str, float]], console: Console
    ) -> None:
        super().__init__(total)
        self.shares = shares
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[told]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            refresh_per_second=2,
        )
        self.bars: dict[str, TaskID] = {}
        self.best: tuple[float, str] | None = None
        self.failures = 0
        self.whole = self.progress.add_task("trials", total=total, told="")

    def started(self, name: str) -> None:
        super().started(name)
        self.bars[name] = self.progress.add_task(name, total=1.0, told="training")
        self.tick()

    def paused(self, name: str, percent: int, fcd_val: float) -> None:
        self._drop(name)
        super().paused(name, percent, fcd_val)

    def finished(self, name: str, fcd_val: float) -> None:
        if self.best is None or fcd_val < self.best[0]:
            self.best = fcd_val, name
        super().finished(name, fcd_val)

    def failed(self, name: str) -> None:
        self.failures += 1
        super().failed(name)

    def tick(self) -> None:
        shares = self.shares()
        for name, bar in self.bars.items():
            if name in shares:
                told = f"{shares[name]:.0%}" if shares[name] < 1 else "chains, metrics"
                self.progress.update(bar, completed=shares[name], told=told)
        parts = [f"{self.ended}{f' of {self.total}' if self.total else ''}"]
        if self.failures:
            parts.append(f"{self.failures} failed")
        if self.best is not None:
            fcd, name = self.best
            parts.append(f"best FCD on validation {fcd:.{decimals(fcd)}f}, {name}")
        text = "; ".join(parts) + self._left()
        self.progress.update(self.whole, completed=self.ended, told=text)

    def _end(self, name: str, how: str) -> None:
        self._drop(name)
        super()._end(name, how)
        self.tick()

    def _drop(self, name: str) -> None:
        if name in self.bars:
            self.progress.remove_task(self.bars.pop(name))

    def _say(self, text: str) -> None:
        self.spoke = self.clock()
        self.progress.console.print(Text(self._line(text)))


@contextmanager
def board(
    total: int | None, shares: Callable[[], dict[str, float]], console: Console | None = None
) -> Iterator[Board]:
    """Bars on a terminal, lines anywhere else. console: the standard output's, but for tests."""
    console = console or Console()
    if not console.is_terminal or console.is_dumb_terminal:
        yield Board(total)
        return
    live = LiveBoard(total, shares, console)
    with live.progress:
        yield live
