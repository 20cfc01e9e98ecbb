"""The figures of Makhzani et al. 2016, drawn of trained models, for paper_figures.py."""

import json
import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from genae_core.data.base import Splits
from genae_core.evaluation.image_grids import Picture
from genae_core.models.base import Autoencoder
from genae_core.models.style_aae import StyleAAE
from genae_core.priors.mixture import GaussianMixture
from genae_core.priors.swiss_roll import SwissRoll
from genae_core.recipes.figure_models import COMPARED
from genae_core.recipes.pictures import (
    codes,
    images_of,
    log_picture,
    manifold,
    model_of,
    neighbours,
    roll_walk,
    styles,
)
from genae_core.report.plots import Cloud, scatter
from genae_core.tracking.mlflow_store import StoredRun, Tracker

ROWS = 10  # images of a style grid
MANIFOLDS = 3  # Gaussians of the mixture whose manifold is drawn


class Drawing(NamedTuple):
    """What is drawn of a run's model.

    Attributes:
        figure: The name of the figure.
        run: The run.
        cloud: The held-out codes, if they have two dimensions.
        agreement: For labelled codes of a mixture, the fraction of held-out images for which the
            Gaussian of their class is the most responsible one.
    """

    figure: str
    run: StoredRun
    cloud: Cloud | None = None
    agreement: float | None = None


def draw_figures(
    tracker: Tracker, sweep: str, splits: Splits, binarize: bool, folder: Path
) -> None:
    """Draw the figures of every finished run, and print how often codes agree with their classes.

    Args:
        tracker: The store of the sweep.
        sweep: The sweep's name.
        splits: The images of the dataset.
        binarize: Whether the models see binarised images.
        folder: The folder of the figures, which is made. The runs also get them as artifacts.
    """
    folder.mkdir(exist_ok=True)
    drawings = [
        _draw_run(tracker, run, splits, binarize, folder)
        for run in tracker.read_runs(sweep)
        if run.status == "FINISHED"
    ]
    _draw_code_spaces(tracker, drawings, folder)
    print(f"drawn:  {folder}")
    fractions = [drawing.agreement for drawing in drawings if drawing.agreement is not None]
    if fractions:
        each = ", ".join(f"{100 * fraction:.1f}" for fraction in fractions)
        print(
            "held-out codes whose class's Gaussian is the most responsible one: "
            f"{100 * statistics.mean(fractions):.1f} % (seeds: {each})"
        )


def _draw_run(
    tracker: Tracker, run: StoredRun, splits: Splits, binarize: bool, folder: Path
) -> Drawing:
    figure = str(json.loads(run.tags["cell"])["figure"])
    name = f"{figure}_seed{run.tags['seed']}"
    model = model_of(tracker, run)
    assert isinstance(model, Autoencoder)

    def save(picture: Picture, kind: str) -> None:
        log_picture(tracker, run, picture, folder / f"{kind}_{name}.png")

    save(neighbours(model, splits.train, binarize), "neighbours")
    if isinstance(model, StyleAAE):
        rows = np.arange(min(ROWS, len(splits.test.images)))
        save(styles(model, images_of(splits.test, rows, binarize)), "styles")
        return Drawing(figure, run)
    z = codes(model, splits.test, binarize)
    cloud = Cloud(f"{len(z):,} held-out codes: {figure}", z.numpy(), splits.test.labels)
    _log_clouds(tracker, [run], [cloud], folder / f"codes_{name}.png")
    prior = model.latent_prior()
    if isinstance(prior, SwissRoll):
        save(roll_walk(model, prior), "walk")
    if figure == "gaussian_aae":
        save(manifold(model, torch.zeros(2), torch.eye(2)), "manifold")
    if figure != "semi_supervised":
        return Drawing(figure, run, cloud)
    assert isinstance(prior, GaussianMixture)
    for k in range(MANIFOLDS):
        covariance = prior.factors[k] @ prior.factors[k].T
        save(manifold(model, prior.means[k], covariance), f"manifold{k}")
    most_responsible = prior.responsibilities(z).argmax(1).numpy()
    agreement = float((most_responsible == splits.test.labels).mean())
    tracker.log_scalars(run.run_id, {"code_agreement": agreement})
    return Drawing(figure, run, cloud, agreement)


def _draw_code_spaces(tracker: Tracker, drawings: list[Drawing], folder: Path) -> None:
    """Draw the codes of the AAEs beside those of the VAEs, each of its first run (figure 2)."""
    first: dict[str, tuple[StoredRun, Cloud]] = {}
    for drawing in drawings:
        if drawing.cloud is not None and drawing.figure in COMPARED:
            first.setdefault(drawing.figure, (drawing.run, drawing.cloud))
    if len(first) > 1:
        pairs = [first[figure] for figure in COMPARED if figure in first]
        runs, clouds = [run for run, _ in pairs], [cloud for _, cloud in pairs]
        _log_clouds(tracker, runs, clouds, folder / "code_spaces.png")


def _log_clouds(tracker: Tracker, runs: list[StoredRun], clouds: list[Cloud], path: Path) -> None:
    """Draw the clouds as a PNG at `path`, and put it into the runs' artifacts."""
    scatter(clouds, path)
    for run in runs:
        tracker.log_files(run.run_id, path, "figures")
