"""Plots as PNG files: the curves of a sweep, and scatter plots of points in a plane."""

import math
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.report.tables import PANEL_AXIS, SeedGroup, group_seeds
from genae_core.tracking.mlflow_store import StoredRun

TITLE_LETTERS = 36  # in one line of a panel's title


def draw_curves(runs: Iterable[StoredRun], path: Path, metric: str = "fcd") -> None:
    """Plot a metric against the MCMC step, with one panel per chain config and latent dimension.

    Each combination of the other coordinates is one line: the mean over seeds, with a band of one
    standard deviation to either side. Without finished runs no file is written.

    Args:
        runs: The runs of a sweep.
        path: The PNG file to write.
        metric: The chain metric, the FCD or one of the user's own.
    """
    groups = group_seeds(runs)
    if not groups:
        return
    pyplot = import_pyplot()
    chains = sorted({group.chain for group in groups})
    dims = sorted({_latent_dim(group) for group in groups})
    lines = list(dict.fromkeys(group.label for group in groups))
    figure, axes = pyplot.subplots(
        len(chains),
        len(dims),
        squeeze=False,
        sharex=True,
        figsize=(1.2 + 3.2 * len(dims), 0.8 + 2.6 * len(chains)),
        layout="constrained",
    )
    handles: dict[str, Any] = {}
    for group, members in groups.items():
        dim = _latent_dim(group)
        axis = axes[chains.index(group.chain)][dims.index(dim)]
        handles[group.label] = _draw_band(axis, members, metric, f"C{lines.index(group.label)}")
        panel = f"latent dimension {dim}, " if dim else ""
        axis.set_title(textwrap.fill(f"{panel}{group.chain}", TITLE_LETTERS), fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("MCMC step")
    for row in axes:
        row[0].set_ylabel("FCD" if metric == "fcd" else metric)
    # One legend names the lines of all panels. A panel may lack lines, because some chain configs
    # suit one family only.
    axes[0][0].legend(handles.values(), handles.keys(), fontsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _latent_dim(group: SeedGroup) -> int:
    """Return the latent dimension, or 0 if it is no axis of the sweep."""
    return int(dict(group.cell).get(PANEL_AXIS, 0))


def _draw_band(axis: Any, runs: Sequence[StoredRun], metric: str, color: str) -> Any:
    """Draw the mean over runs with its band, and return the line."""
    curves = [run.chain.get(metric, {}) for run in runs]
    steps = sorted({step for curve in curves for step in curve})
    columns = [[curve[step] for curve in curves if step in curve] for step in steps]
    mean = [statistics.mean(column) for column in columns]
    sd = [statistics.stdev(column) if len(column) > 1 else 0.0 for column in columns]
    (line,) = axis.plot(steps, mean, marker="o", markersize=3, color=color)
    low = [m - s for m, s in zip(mean, sd, strict=True)]
    high = [m + s for m, s in zip(mean, sd, strict=True)]
    axis.fill_between(steps, low, high, alpha=0.2, color=color)
    return line


class Cloud(NamedTuple):
    """Points to scatter.

    Attributes:
        title: The title of the plot.
        points: Coordinates [N, 2].
        labels: Classes, int64 [N].
    """

    title: str
    points: NDArray[Any]
    labels: NDArray[Any]


def scatter(clouds: Sequence[Cloud], path: Path) -> None:
    """Plot clouds of points, two in a row, with a colour per class.

    Args:
        clouds: What to plot.
        path: The PNG file to write.
    """
    pyplot = import_pyplot()
    columns = min(2, len(clouds))
    rows = math.ceil(len(clouds) / columns)
    size = (0.8 + 5.2 * columns, 5.4 * rows)
    figure, axes = pyplot.subplots(
        rows, columns, squeeze=False, figsize=size, layout="constrained"
    )
    for axis in axes.flat[len(clouds) :]:
        axis.set_axis_off()
    for axis, cloud in zip(axes.flat, clouds, strict=False):
        scatter_cloud(axis, cloud, size=5)
        axis.set_title(cloud.title, fontsize=10)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize=8, markerscale=2, loc="outside right upper")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def scatter_cloud(axis: Any, cloud: Cloud, size: float) -> None:
    """Plot a cloud of points in axes of matplotlib, with a colour per class.

    Args:
        axis: The axes.
        cloud: The points.
        size: The area of a marker in points squared.
    """
    for k in np.unique(cloud.labels):
        members = cloud.points[cloud.labels == k]
        axis.scatter(members[:, 0], members[:, 1], s=size, color=f"C{k % 10}", label=str(k))
    axis.set_aspect("equal", "datalim")


# Where the name of a family may stand beside its marker, the best place first: points to the right
# and up, and the side of the name that is there.
NAME_PLACES = (
    (6, 0, "left"),
    (-6, 0, "right"),
    (0, 10, "center"),
    (0, -10, "center"),
    (6, 9, "left"),
    (6, -9, "left"),
    (-6, 9, "right"),
    (-6, -9, "right"),
    (0, 20, "center"),
    (0, -20, "center"),
    (8, 18, "left"),
    (8, -18, "left"),
    (-8, 18, "right"),
    (-8, -18, "right"),
)


class MapPoint(NamedTuple):
    """A family on a map.

    Attributes:
        name: The family.
        fcd: The FCD of draws from the prior.
        recall: Their recall.
        chain: The FCD and the recall after the best number of steps of the chain; None without a
            chain.
        in_image_space: Whether the family is a generator of images, without latent codes to learn.
        samples: Draws from the prior, uint8 [H, W, 3].
    """

    name: str
    fcd: float
    recall: float
    chain: tuple[float, float] | None
    in_image_space: bool
    samples: NDArray[np.uint8]


def draw_map(points: Sequence[MapPoint], path: Path) -> None:
    """Plot the recall of families against their FCD, and their samples below.

    An arrow leads from the draws of a family to its samples after the best number of steps.

    Args:
        points: The families, in the order of their samples.
        path: The PNG file to write.
    """
    pyplot = import_pyplot()
    columns = min(8, len(points))
    rows = math.ceil(len(points) / columns)
    figure = pyplot.figure(figsize=(max(7.0, 1.6 * columns), 5.6 + 1.85 * rows))
    cells = figure.add_gridspec(
        2, 1, height_ratios=(5.6, 1.85 * rows), left=0.07, right=0.98, top=0.98, bottom=0.02
    )
    _draw_points(figure.add_subplot(cells[0]), points)
    tiles = cells[1].subgridspec(rows, columns, wspace=0.08, hspace=0.3)
    for number, point in enumerate(points):
        axis = figure.add_subplot(tiles[number // columns, number % columns])
        axis.imshow(point.samples)
        axis.set_axis_off()
        axis.set_title(f"{point.name}: {point.fcd:.0f}", fontsize=8, pad=3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw_points(axis: Any, points: Sequence[MapPoint]) -> None:
    """Draw a marker and the name of each family, and an arrow along its chain."""
    from matplotlib import ticker  # noqa: PLC0415  # slow

    for color, marker, in_image_space in (("C0", "o", False), ("C1", "s", True)):
        kind = [point for point in points if point.in_image_space == in_image_space]
        label = "generators of images" if in_image_space else "autoencoders"
        fcds, recalls = [point.fcd for point in kind], [point.recall for point in kind]
        axis.scatter(fcds, recalls, color=color, marker=marker, s=28, label=label, zorder=3)
    for point in points:
        place = (point.fcd, point.recall)
        if point.chain is not None and point.chain != place:
            arrow = {"arrowstyle": "->", "color": "0.6"}
            axis.annotate("", point.chain, place, arrowprops=arrow)
    axis.plot([], [], color="0.6", label="after the best number of steps of the chain")
    # Arrows do not widen the axes.
    ends = [point.chain for point in points if point.chain is not None]
    axis.plot([x for x, _ in ends], [y for _, y in ends], linestyle="")
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:.0f}")
    axis.xaxis.set_minor_formatter(ticker.NullFormatter())
    # Most families have a high recall, and the cube keeps them apart.
    axis.set_yscale("function", functions=(lambda y: y**3, np.cbrt))
    axis.set_yticks([0, 0.4, 0.6, 0.7, 0.8, 0.9, 1])
    axis.set_ylim(-0.3, 1)
    axis.set_xlabel("FCD of samples (lower is better)")
    axis.set_ylabel("recall (higher: more of the data is covered)")
    axis.legend(fontsize=8, loc="lower left")
    _name_points(axis, points)


def _name_points(axis: Any, points: Sequence[MapPoint]) -> None:
    """Write the name of each family beside its marker, where the fewest things are in the way."""
    renderer = axis.figure.canvas.get_renderer()
    markers = [axis.transData.transform((point.fcd, point.recall)) for point in points]
    boxes: list[Any] = []
    for point in points:
        places: list[tuple[int, int, Any, Any]] = []
        for dx, dy, side in NAME_PLACES:
            text = axis.annotate(
                point.name,
                (point.fcd, point.recall),
                (dx, dy),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=8,
                zorder=4,
            )
            box = text.get_window_extent(renderer).padded(1)
            hidden = sum(box.overlaps(other) for other in boxes)
            hidden += sum(box.contains(x, y) for x, y in markers)
            hidden += not axis.bbox.contains(box.x0, box.y0)
            hidden += not axis.bbox.contains(box.x1, box.y1)
            places.append((hidden, len(places), text, box))
        best = min(places, key=lambda place: place[:2])
        boxes.append(best[3])
        for place in places:
            if place is not best:
                place[2].remove()


def import_pyplot() -> Any:
    """Import matplotlib, which is slow, only when something is drawn. No screen is needed."""
    import matplotlib  # noqa: PLC0415

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    return pyplot
