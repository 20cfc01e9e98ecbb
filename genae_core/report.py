"""The table at the end of a sweep, read back from the store, and the curves as a picture."""

import json
import math
import statistics
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.progress import decimals, shown
from genae_core.tracking import Curve

STEPS = (0, 1, 5, 10)
PANELS = "latent_dim"  # the axis that the figure's columns show
TITLE = 36  # letters in a line of a panel's title

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
        rest = [f"{name}={shown(value)}" for name, value in self.cell if name != PANELS]
        return " ".join([self.family, *rest])


def groups(curves: Iterable[Curve]) -> dict[Group, list[Curve]]:
    """Finished runs by cell and chain setting, over their seeds, in the order of their names."""
    found: dict[Group, list[Curve]] = defaultdict(list)
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


def table(curves: list[Curve]) -> str:
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
                *(shown(cell.get(name, "-")) for name in axes),
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
    return lined(rows)


def times(curves: Iterable[Curve], slots: int, seconds: float) -> str:
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


def lined(rows: list[list[str]]) -> str:
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


def draw_curves(curves: list[Curve], path: Path) -> None:
    """FCD against MCMC step, a panel a chain setting and latent dimension, a line for each of the
    other coordinates: the mean over seeds with its standard deviation as a band. PNG."""
    import matplotlib  # noqa: PLC0415  only here, and slow to import

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    cells = groups(curves)
    if not cells:
        return
    chains = sorted({group.chain for group in cells})
    dims = sorted({int(dict(group.cell).get(PANELS, 0)) for group in cells})
    lines = list(dict.fromkeys(group.label for group in cells))
    figure, axes = pyplot.subplots(
        len(chains),
        len(dims),
        squeeze=False,
        sharex=True,
        figsize=(1.2 + 3.2 * len(dims), 0.8 + 2.6 * len(chains)),
        layout="constrained",
    )
    drawn: dict[str, Any] = {}
    for group, runs in cells.items():
        dim = int(dict(group.cell).get(PANELS, 0))
        axis = axes[chains.index(group.chain)][dims.index(dim)]
        steps = sorted(runs[0].chain["fcd"])
        values = [[run.chain["fcd"][step] for run in runs] for step in steps]
        mean = [statistics.mean(at) for at in values]
        sd = [statistics.stdev(at) if len(at) > 1 else 0.0 for at in values]
        color = f"C{lines.index(group.label)}"
        (drawn[group.label],) = axis.plot(steps, mean, marker="o", markersize=3, color=color)
        axis.fill_between(
            steps,
            [m - s for m, s in zip(mean, sd, strict=True)],
            [m + s for m, s in zip(mean, sd, strict=True)],
            alpha=0.2,
            color=color,
        )
        where = f"latent dimension {dim}, " if dim else ""
        axis.set_title(textwrap.fill(f"{where}{group.chain}", TITLE), fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("MCMC step")
    for row in axes:
        row[0].set_ylabel("FCD")
    # Of all panels: a setting that one family alone can have is drawn in a panel without the rest.
    axes[0][0].legend(drawn.values(), drawn.keys(), fontsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


class Cloud(NamedTuple):
    """Points [N, 2], their classes int64 [N], and what they are."""

    title: str
    points: NDArray[Any]
    labels: NDArray[Any]


def scatter(clouds: Sequence[Cloud], path: Path) -> None:
    """Clouds beside each other, two a row, coloured by class. PNG."""
    import matplotlib  # noqa: PLC0415  only here, and slow to import

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    columns = min(2, len(clouds))
    rows = math.ceil(len(clouds) / columns)
    size = (0.8 + 5.2 * columns, 5.4 * rows)
    figure, axes = pyplot.subplots(
        rows, columns, squeeze=False, figsize=size, layout="constrained"
    )
    for axis in axes.flat[len(clouds) :]:
        axis.set_axis_off()
    for axis, (title, points, labels) in zip(axes.flat, clouds, strict=False):
        for k in np.unique(labels):
            of = points[labels == k]
            axis.scatter(of[:, 0], of[:, 1], s=5, color=f"C{k % 10}", label=str(k))
        axis.set_title(title, fontsize=10)
        axis.set_aspect("equal", "datalim")
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize=8, markerscale=2, loc="outside right upper")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _spread(values: list[float | None] | list[float]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = statistics.mean(known)
    digits = decimals(mean)
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{mean:.{digits}f}{spread}"
