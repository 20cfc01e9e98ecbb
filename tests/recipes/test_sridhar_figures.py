"""What the pages of Sridhar & Srivastava show: which families, which losses, and thresholded
samples."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genae_core.data.digits import DigitsConfig
from genae_core.distributions.rng import Draw
from genae_core.models.ae import AEConfig
from genae_core.models.config import ModelConfig
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.recipes import sridhar_figures
from genae_core.recipes.figure_pages import FigurePages, Subject
from genae_core.recipes.sridhar_figures import draw_sridhar, sridhar_families
from genae_core.testing import tiny
from genae_core.tracking.mlflow_store import StoredRun

NET = MLPConfig(widths=(8,))
LOSS = {10: 3.5, 20: 2.5}


class Recorded(FigurePages):
    """Pages that are not stored."""

    def keep(self, subjects: Any, files: Any) -> None: ...


def subject(family: str, config: ModelConfig) -> Subject:
    with Draw(0, "weights").as_global():
        model: Any = config.build((1, 8, 8)).eval()
    scalars = {"fcd_step0": 12.34, "fcd_images": 20.0}
    stored = StoredRun("id", "FINISHED", {}, {}, scalars, {"train/flow": LOSS})
    experiment = replace(tiny.experiment(), data=DigitsConfig(binarize=True), model=config)
    return Subject(family=family, run=stored, model=model, experiment=experiment)


@pytest.fixture
def subjects() -> list[Subject]:
    return [
        subject("vae", VAEConfig(latent_dim=2, net=NET)),
        subject("flow_ae", FlowAEConfig(autoencoder=AEConfig(latent_dim=2, net=NET))),
    ]


def page_of(figure: str, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the page of a figure is made of."""
    made: list[Any] = []
    for kind in ("print_panels", "print_curves", "print_clouds"):
        monkeypatch.setattr(sridhar_figures, kind, lambda content, *_: made.append(content))
    pages = Recorded(
        tracker=None,  # type: ignore[arg-type]
        splits=tiny.splits(),
        folder=Path("nowhere"),
        deviations=lambda *_: [],
    )
    draw_sridhar(pages, subjects, (figure,))
    (content,) = made
    return content


def test_samples_are_thresholded_draws_of_the_prior(
    subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    panels = page_of("samples", subjects, monkeypatch)
    assert [panel.title for panel in panels] == ["VAE: FCD 12.3", "FlowAE: FCD 12.3"]
    z = Draw(0, "samples").normal((64, 2))
    with torch.no_grad():
        images = subjects[0].model.decode(z).mean > 0.5
    shown = panels[0].picture[2 + 50 : 50 + 50 : 6, 2 + 150 : 50 + 150 : 6, 0]
    np.testing.assert_array_equal(shown == 255, images[8 + 3, 0].numpy())


def test_losses_are_those_of_the_second_stage(
    subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    (curve,) = page_of("losses", subjects, monkeypatch)
    assert curve.lines == {"flow": LOSS} and curve.title.endswith("(FlowAE)")


@pytest.mark.slow
def test_a_cloud_has_a_point_and_a_label_for_each_image(
    subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    clouds = page_of("tsne", subjects, monkeypatch)
    assert [cloud.title for cloud in clouds] == ["VAE", "autoencoder of FlowAE and AdvAE"]
    for cloud in clouds:
        assert cloud.points.shape == (tiny.HALF, 2)
        np.testing.assert_array_equal(cloud.labels, tiny.splits().test.labels)


def test_only_the_families_of_a_figure_are_trained() -> None:
    assert sridhar_families(("losses",)) == ("adv_ae", "flow_ae")
    assert sridhar_families(("tsne", "samples")) == ("vae", "flow_ae", "aae", "adv_ae")
