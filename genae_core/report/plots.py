"""TODO"""

import math
import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.report.tables import PANELS, groups
from genae_core.tracking.mlflow_store import StoredRun

TITLE = 36  # letters in a line of a panel's title


def draw_curves(curves: list[StoredRun], path: Path) -> None:
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
