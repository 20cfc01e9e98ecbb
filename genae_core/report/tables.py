"""The table at the end of a sweep, read back from the store, and the curves as a picture."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from genae_core.report.formatting import decimals, format_value
from genae_core.tracking.mlflow_store import StoredRun

STEPS = (0, 1, 5, 10)
PANELS = "latent_dim"  # the axis that the figure's columns show

Value = str | int | float | bool


class Group(NamedTuple):
    """Runs that differ by their seed alone: a cell, and what the chain is.

    family: as the literature calls it. cell: the cell's other coordinates.
    """

    family: str
    cell: tuple[tuple[str, Value], ...]
    chain: str

    @property
    def label(self) -> str:
        """The cell for people, without the axis that the panels show."""
        rest = [f"{name}={format_value(value)}" for name, value in self.cell if name != PANELS]
        return " ".join([self.family, *rest])


def groups(curves: Iterable[StoredRun]) -> dict[Group, list[StoredRun]]:
    """Finished runs by cell and chain setting, over their seeds, in the order of their names."""
    found: dict[Group, list[StoredRun]] = defaultdict(list)
    for curve in curves:
        if curve.status == "FINISHED":
            cell = json.loads(curve.tags["cell"])
            rest = tuple(sorted((k, v) for k, v in cell.items() if k != "family"))
            found[Group(curve.tags["family"], rest, curve.tags["chain"])].append(curve)
    return {key: found[key] for key in sorted(found, key=_order)}


def _order(group: Group) -> tuple[Any, ...]:
    """Numbers by size, after words."""
    cell = [(n, (1, v, "") if isinstance(v, int | float) else (0, 0, v)) for n, v in group.cell]
    return group.family, cell, group.chain


def table(curves: list[StoredRun]) -> str:
    """One row a cell and chain setting: FCD as mean +- sd over seeds; plain text.

    "best" is the FCD at the step chosen on validation (the median over seeds is shown), and
    the ratios divide by the FCD of real training images: 1.0 is the floor.
    """
    cells = groups(curves)
    chains = {group.chain for group in cells}
    axes = sorted({name for group in cells for name, _ in group.cell})
    head = [
        "family",
        *axes,
        *(["chain"] if len(chains) > 1 else []),
        "seeds",
        *(f"FCD step {step}" for step in STEPS),
        "best",
        "at step",
        "best/step 0",
        "step 0/real",
        "best/real",
    ]
    rows = [head]
    for group, runs in cells.items():
        cell = dict(group.cell)
        best = [run.scalars["fcd_best"] for run in runs]
        start = [run.scalars["fcd_step0"] for run in runs]
        floor = [run.scalars["fcd_floor"] for run in runs]
        at = statistics.median(run.scalars["fcd_best_step"] for run in runs)
        rows.append(
            [
                group.family,
                *(format_value(cell.get(name, "-")) for name in axes),
                *([group.chain] if len(chains) > 1 else []),
                str(len(runs)),
                *(_spread([run.chain["fcd"].get(step) for run in runs]) for step in STEPS),
                _spread(best),
                f"{at:g}",
                _ratio(best, start, 2),
                _ratio(start, floor, 1),
                _ratio(best, floor, 1),
            ]
        )
    return align_columns(rows)


def times(curves: Iterable[StoredRun], slots: int, seconds: float) -> str:
    """What so many slots did in so many seconds of a sweep that gave these runs; "" where one of
    them has not finished, as nothing is known of its time.

    The rest: processes that start, what real images give, states and logs, slots without a trial.
    """
    runs = list(curves)
    if not runs or any(run.status != "FINISHED" for run in runs):
        return ""
    # One training may have several runs.
    trained = {(r.tags["cell"], r.tags["seed"]): r.scalars["training_seconds"] for r in runs}
    whole, training = slots * seconds, sum(trained.values())
    evaluated = sum(run.scalars["evaluation_seconds"] for run in runs)
    return (
        f"time:   {slots} x {seconds:.0f} s: {training / whole:.0%} training, "
        f"{evaluated / whole:.0%} chains and metrics, "
        f"{1 - (training + evaluated) / whole:.0%} the rest"
    )


def align_columns(rows: list[list[str]]) -> str:
    """The rows in columns, the first one as their head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _ratio(values: list[float], others: list[float], digits: int) -> str:
    """The ratio of the means; a dash where the other mean is 0."""
    other = statistics.mean(others)
    return f"{statistics.mean(values) / other:.{digits}f}" if other > 0 else "-"


def _spread(values: list[float | None] | list[float]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = statistics.mean(known)
    digits = decimals(mean)
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{mean:.{digits}f}{spread}"
