"""What the pages of Creswell et al. show: the right images, in the right rows, with their PSNR."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.models.vae import VAE, VAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.recipes import creswell_figures
from genae_core.recipes.creswell_figures import (
    creswell_families,
    draw_denoising,
    draw_paths,
    draw_samples,
)
from genae_core.recipes.figure_pages import FigurePages, Subject
from genae_core.recipes.interpolation_pictures import INTERPOLATED_STEPS
from genae_core.report.print_pages import Panel
from genae_core.samplers.loop import run_chain
from genae_core.testing import tiny
from genae_core.tracking.mlflow_store import StoredRun

PX, GAP = 48, 2  # the side of an enlarged digit of 8 px in a grid, and what lies between two


class Recorded(FigurePages):
    """Pages that are not stored."""

    def keep(self, subjects: Any, files: Any) -> None: ...


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[Panel]:
    """The panels that a figure prints, and its caption in the last one's title."""
    printed: list[Panel] = []

    def record(panels: Sequence[Panel], columns: int, caption: str, path: Path) -> tuple[Path]:
        printed.extend(panels)
        printed.append(Panel(caption, panels[0].picture))
        return (path,)

    monkeypatch.setattr(creswell_figures, "print_panels", record)
    return printed


@pytest.fixture
def pages() -> FigurePages:
    return Recorded(
        tracker=None,  # type: ignore[arg-type]
        splits=tiny.splits(),
        folder=Path("nowhere"),
        deviations=lambda *_: ["2 epochs (paper: 20)"],
    )


@pytest.fixture
def subject() -> Subject:
    with Draw(0, "weights").as_global():
        model: VAE = VAEConfig(latent_dim=2, net=MLPConfig(widths=(8,)), noise=0.5).build(
            (1, 8, 8)
        )
    scalars, curves = {"fcd_images": 1e3}, {"fcd": {0: 123.44, 5: 9.876}}
    stored = StoredRun("id", "FINISHED", {}, {}, scalars, curves)
    experiment = tiny.experiment()
    chain = replace(experiment.chains[0], record=INTERPOLATED_STEPS)
    experiment = replace(experiment, chains=(chain,))
    return Subject(family="dvae", run=stored, model=model.eval(), experiment=experiment)


def tile(panel: Panel, row: int, column: int) -> np.ndarray[Any, Any]:
    """An image of a panel, 8 x 8 pixels."""
    top, left = (GAP + place * (PX + GAP) for place in (row, column))
    return panel.picture[top : top + PX : 6, left : left + PX : 6, 0]


def test_denoising_has_three_rows_and_the_psnr_of_the_last_two(
    panels: list[Panel], pages: FigurePages, subject: Subject
) -> None:
    draw_denoising(pages, subject)
    *noises, caption = panels
    x = torch.from_numpy(np.asarray(pages.splits.test.images)).float() / 255
    for panel, noise in zip(noises, (0.25, 0.5, 1.0), strict=True):
        noisy = x + noise * Draw(0, "denoised").normal(tuple(x.shape))
        with torch.no_grad():
            restored = subject.model.decode(subject.model.encode(noisy).mean).mean
        before, after = (
            np.mean([10 * math.log10(1 / float(((a - b) ** 2).mean())) for a, b in pairs])
            for pairs in (zip(x, noisy, strict=True), zip(x, restored, strict=True))
        )
        assert panel.title == (
            f"noise of {noise:g}: PSNR {before:.1f} dB, restored {after:.1f} dB"
        )
        assert panel.labels == ("image", "with noise", "restored")
        for row, images in enumerate((x, noisy, restored)):
            wanted = (images[3, 0].clamp(0, 1) * 255).round().numpy()
            np.testing.assert_allclose(tile(panel, row, 3).astype(float), wanted, atol=1)
    assert caption.title.endswith("\nDeviations from the paper: 2 epochs (paper: 20).")


def test_samples_are_the_same_chains_at_four_steps_with_their_fcd(
    panels: list[Panel], pages: FigurePages, subject: Subject
) -> None:
    draw_samples(pages, [subject])
    assert [panel.title for panel in panels[:4]] == [
        "DVAE, step 0: FCD 123.4",
        "DVAE, step 1",
        "DVAE, step 5: FCD 9.88",
        "DVAE, step 10",
    ]
    assert "chains. The FCD compares 1,000 test images." in panels[4].title
    chain = subject.experiment.chains[0]
    means = {one.step: one.chain.mean for one in run_chain(subject.model, chain, 16)}
    for panel, step in zip(panels, INTERPOLATED_STEPS, strict=False):
        wanted = (means[step][7, 0] * 255).round().numpy()
        np.testing.assert_allclose(tile(panel, 1, 1).astype(float), wanted, atol=1)


def test_paths_have_a_panel_for_each_pair_and_a_row_for_each_step(
    panels: list[Panel], pages: FigurePages, subject: Subject
) -> None:
    draw_paths(pages, subject)
    steps = ["step 0", "step 1", "step 5", "step 10"]
    assert [panel.labels for panel in panels[:2]] == [steps, steps]
    assert len(panels) == 3
    assert panels[0].picture.shape == (4 * 50 + 2, 12 * 50 + 2, 3)
    test = np.asarray(pages.splits.test.images)
    for pair, panel in enumerate(panels[:2]):  # the pairs are the first two images and the next
        for column, image in ((0, test[pair]), (11, test[2 + pair])):
            np.testing.assert_array_equal(tile(panel, 0, column), image[0])
            assert (tile(panel, 1, column) == 255).all()
    assert "a batch of 20 points, those of 2 pairs" in panels[2].title


def test_a_figure_needs_families_of_the_paper() -> None:
    assert creswell_families(("denoising",), ("vae", "dvae", "aae", "daae")) == ("dvae", "daae")
    assert creswell_families(("samples", "denoising"), ("aae", "vae")) == ("vae", "aae")
    with pytest.raises(ValueError, match="denoising needs one of dvae, daae, got families="):
        creswell_families(("denoising",), ("vae",))
    with pytest.raises(ValueError, match="the paper's families are vae, dvae, aae, daae"):
        creswell_families(("samples",), ("gan",))
