"""Figures for print: a page as wide as a text, with a caption, as PNG of 300 dpi and as PDF.

All lengths are in inches.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.report.plots import Cloud, import_pyplot, scatter_cloud

WIDTH = 7.2  # of a page
DPI = 300
FONT, SMALL = 8, 7  # points
LINE = 0.125  # the height of a line of the caption
LETTERS = 134  # in a line of the caption
TITLE, GAP, LABELS = 0.2, 0.12, 0.6  # a title's height, the space between panels, a label's width
CURVE, MARGIN = 2.0, 0.5  # the height of curves, and the space for their axes' numbers


class Panel(NamedTuple):
    """Images of one picture.

    Attributes:
        title: The title above them.
        picture: The images, uint8 [H, W, 3].
        labels: Labels of rows of equal height, from above; they stand on the left.
    """

    title: str
    picture: NDArray[np.uint8]
    labels: Sequence[str] = ()


class Curve(NamedTuple):
    """A panel of lines.

    Attributes:
        title: The title above them.
        lines: The values by step of each line, by the line's name.
        label: What the values are.
    """

    title: str
    lines: Mapping[str, Mapping[int, float]]
    label: str


class Page:
    """A figure of WIDTH x (height of the content and of the caption), which is filled in inches.

    Args:
        height: The height of the content.
        caption: The text below it, whose paragraphs are separated by line breaks.
    """

    def __init__(self, height: float, caption: str) -> None:
        lines = [line for part in caption.splitlines() for line in textwrap.wrap(part, LETTERS)]
        self.below = LINE * len(lines) + GAP
        self.height = height + self.below
        self.figure = import_pyplot().figure(figsize=(WIDTH, self.height))
        text = "\n".join(lines)
        self.figure.text(0, 0.03 / self.height, text, fontsize=SMALL, va="bottom", linespacing=1.2)

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Axes whose left upper corner is here, counted from that of the page."""
        bottom = self.height - top - height
        place = (left / WIDTH, bottom / self.height, width / WIDTH, height / self.height)
        return self.figure.add_axes(place)

    def save(self, path: Path) -> tuple[Path, Path]:
        """Write the page as PNG and as PDF, and return both files.

        Args:
            path: The files without their endings. Their folder is made.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        files = (path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.pdf"))
        for file in files:
            # The file is the same whenever it is made.
            metadata = {"CreationDate": None} if file.suffix == ".pdf" else {}
            self.figure.savefig(file, dpi=DPI, metadata=metadata)
        import_pyplot().close(self.figure)
        return files


def print_panels(
    panels: Sequence[Panel], columns: int, caption: str, path: Path
) -> tuple[Path, Path]:
    """Print panels of images in rows of `columns`; return the PNG and the PDF.

    Args:
        panels: The panels; those of one row have pictures of equal shape.
        columns: The panels in a row.
        caption: The text below them.
        path: The files without their endings.
    """
    labels = LABELS if any(panel.labels for panel in panels) else 0.0
    width = (WIDTH - GAP * (columns - 1)) / columns - labels
    heights = [
        width * panel.picture.shape[0] / panel.picture.shape[1] for panel in panels[::columns]
    ]
    page = Page(sum(heights) + (TITLE + GAP) * len(heights) - GAP, caption)
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        top = sum(heights[:row]) + (TITLE + GAP) * row + TITLE
        axes = page.axes(column * (width + labels + GAP) + labels, top, width, heights[row])
        # Pixels stay sharp, since they are what is shown.
        axes.imshow(panel.picture, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        axes.set_title(panel.title, fontsize=FONT, pad=3)
        for place, label in enumerate(panel.labels):
            middle = 1 - (place + 0.5) / len(panel.labels)
            axes.text(
                *(-0.06 / width, middle, label),
                transform=axes.transAxes,
                fontsize=SMALL,
                ha="right",
                va="center",
            )
    return page.save(path)


def print_clouds(clouds: Sequence[Cloud], caption: str, path: Path) -> tuple[Path, Path]:
    """Print clouds of points beside each other, with a colour per class.

    Args:
        clouds: The clouds.
        caption: The text below them.
        path: The files without their endings.
    """
    side = (WIDTH - LABELS - GAP * len(clouds)) / max(2, len(clouds))
    page = Page(side + TITLE + GAP, caption)
    for number, cloud in enumerate(clouds):
        axes = page.axes(number * (side + GAP), TITLE, side, side)
        scatter_cloud(axes, cloud, size=2)
        axes.set_title(cloud.title, fontsize=FONT, pad=3)
        axes.set(xticks=[], yticks=[])
    handles, names = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        names,
        fontsize=SMALL,
        markerscale=3,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        frameon=False,
        handletextpad=0.1,
    )
    return page.save(path)


def print_curves(curves: Sequence[Curve], caption: str, path: Path) -> tuple[Path, Path]:
    """Print panels of lines below each other.

    Args:
        curves: The panels.
        caption: The text below them.
        path: The files without their endings.
    """
    each = TITLE + CURVE + MARGIN
    page = Page(each * len(curves), caption)
    for number, curve in enumerate(curves):
        axes = page.axes(1.2 * MARGIN, each * number + TITLE, WIDTH - 1.4 * MARGIN, CURVE)
        for name, values in curve.lines.items():
            steps = [step for step, value in sorted(values.items()) if math.isfinite(value)]
            axes.plot(steps, [values[step] for step in steps], linewidth=1, label=name)
        axes.set_title(curve.title, fontsize=FONT, pad=3)
        axes.set_xlabel("optimiser step", fontsize=SMALL)
        axes.set_ylabel(curve.label, fontsize=SMALL)
        axes.tick_params(labelsize=SMALL)
        axes.legend(fontsize=SMALL, frameon=False)
    return page.save(path)
