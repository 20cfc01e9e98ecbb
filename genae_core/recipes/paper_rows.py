"""The rows of a table of paper_tables.py: the paper's value beside the value measured here."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genae_core.config import to_strict_json
from genae_core.report.formatting import decimals


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table.

    Args:
        name: The name of the row.
        paper: The paper's value; None if it has none.
        mean: The mean over n seeds.
        low: The lower end of the mean's 95 % interval; None without an interval.
        high: The upper end of the interval; None without an interval.
        n: The number of seeds.
        fcd_ratio: The mean divided by the FCD of real training images; None for other metrics.
        ruler: What the FCD's classifier can measure (see `Ruler`); None for other metrics.
    """

    name: str
    paper: float | None
    mean: float
    low: float | None = None
    high: float | None = None
    n: int
    fcd_ratio: float | None = None
    ruler: str | None = None


def print_rows(rows: Sequence[Row]) -> None:
    """Print the table."""
    head = ("paper", "measured", "95 % interval", "seeds", "/ real")
    width = max([16, *(len(row.name) for row in rows)])
    print("\n{:<{width}} {:>6} {:>9} {:>17} {:>6} {:>7}".format("", *head, width=width))
    for row in rows:
        paper = "-" if row.paper is None else f"{row.paper:.2f}"
        digits = decimals(row.mean)
        spread = "-" if row.low is None else f"{row.low:.{digits}f} to {row.high:.{digits}f}"
        ratio = "-" if row.fcd_ratio is None else f"{row.fcd_ratio:.1f}"
        mean = f"{row.mean:.{digits}f}"
        print(f"{row.name:<{width}} {paper:>6} {mean:>9} {spread:>17} {row.n:>6} {ratio:>7}")
    if any(row.fcd_ratio is not None for row in rows):
        print(
            "paper: another classifier, so another scale; "
            "/ real: divided by the FCD of real images"
        )
    for ruler in dict.fromkeys(row.ruler for row in rows if row.ruler is not None):
        print(f"ruler: {ruler}")


def write_rows(rows: Sequence[Any], path: Path) -> None:
    """Write the rows, which are dataclasses, as a JSON list, and print the path."""
    path.write_text(to_strict_json([asdict(row) for row in rows]))
    print(f"rows:   {path}")
