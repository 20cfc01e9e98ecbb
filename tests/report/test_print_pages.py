"""Pages for print: their size, both formats, and that no text lies on another."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genae_core.report import print_pages
from genae_core.report.plots import Cloud
from genae_core.report.print_pages import (
    Curve,
    Page,
    Panel,
    print_clouds,
    print_curves,
    print_panels,
)

CAPTION = f"{'Some words of a caption. ' * 12}\nDeviations from the paper: 6 epochs (paper: 20)."
RNG = np.random.default_rng(0)


def panels(path: Path) -> tuple[Path, Path]:
    picture = RNG.integers(0, 256, (80, 120, 3), dtype=np.uint8)
    labels = ("step 0", "step 10", "with noise", "restored")
    rows = [Panel(f"VAE, step {step}: FCD 123.4", picture, labels) for step in range(6)]
    return print_panels(rows, 3, CAPTION, path)


def clouds(path: Path) -> tuple[Path, Path]:
    points, labels = RNG.normal(size=(300, 2)), RNG.integers(0, 10, 300)
    return print_clouds([Cloud("VAE", points, labels)] * 2, CAPTION, path)


def curves(path: Path) -> tuple[Path, Path]:
    line = {10 * step: RNG.normal() for step in range(50)}
    one = Curve("Training loss", {"critic": line, "generator": {0: float("nan"), **line}}, "loss")
    return print_curves([one, one], CAPTION, path)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [panels, clouds, curves])
def test_a_page_is_a_png_of_300_dpi_and_a_pdf_without_text_over_text(
    draw: Callable[[Path], tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[Page] = []
    save = Page.save
    monkeypatch.setattr(Page, "save", lambda page, path: pages.append(page) or save(page, path))
    png, pdf = draw(tmp_path / "a figure.one")
    assert (png.name, pdf.name) == ("a figure.one.png", "a figure.one.pdf")
    (page,) = pages
    with Image.open(png) as picture:
        assert picture.width == 7.2 * 300
        assert picture.height == pytest.approx(page.height * 300, abs=1)
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert np.asarray(picture.convert("L")).std() > 0
    assert pdf.read_bytes().startswith(b"%PDF-") and pdf.stat().st_size > 5_000
    again = draw(tmp_path / "again")
    assert again[1].stat().st_size > 5_000
    texts = [text for text in _texts(page.figure) if text.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    for (one, a), (other, b) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        assert not a.padded(-1).overlaps(b), (one.get_text(), other.get_text())
    drawn = page.figure.get_tightbbox()
    assert drawn.x0 >= 0 and drawn.y0 >= 0
    assert drawn.x1 <= print_pages.WIDTH and drawn.y1 <= page.height


def _texts(figure: Any) -> list[Any]:
    """The texts that a page shows: without the numbers of ticks beyond the ends of an axis."""
    from matplotlib.text import Text  # noqa: PLC0415

    figure.canvas.draw()
    beyond = [
        tick.label1
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    ]
    return [text for text in figure.findobj(Text) if text.get_visible() and text not in beyond]


def test_a_caption_keeps_its_paragraphs_and_makes_room_for_its_lines() -> None:
    short, long = Page(1.0, "One line."), Page(1.0, f"{'word ' * 60}\nThe deviations.")
    lines = long.figure.texts[0].get_text().splitlines()
    assert len(lines) == 4 and lines[-1] == "The deviations."
    assert max(map(len, lines)) <= print_pages.LETTERS
    assert long.height - short.height == pytest.approx(3 * print_pages.LINE)
