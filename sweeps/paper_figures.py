"""The figures of Makhzani et al. 2016, of models trained here; and how well a few labels order
the code.

gaussian_aae, gaussian_vae, mixture_aae, mixture_vae: held-out codes in two dimensions, coloured
by class, and the Gaussian AAE's manifold (figure 2). semi_supervised: a class for each Gaussian
of the mixture, from a fifth of the labels, and the first manifolds; printed: how often the most
responsible Gaussian is the class's own (figures 4a, 4b). swiss_roll: the codes along a roll, and
the walk along it (figures 4c, 4d). style: the class told to the decoder (figure 5). All: samples
above their closest training images (figure 6).

  python sweeps/paper_figures.py --dataset mnist --data-root DIR
  python sweeps/paper_figures.py --figures semi_supervised --seeds 0 1 2 --dataset mnist ...
  python sweeps/paper_figures.py --figures style --dataset svhn --data-root DIR
"""

import json
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch

from genae_core.config import require
from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.data.base import Splits
from genae_core.data.load import load_splits
from genae_core.evaluation.image_grids import Picture
from genae_core.experiment.experiment import Experiment
from genae_core.models.aae import AAEConfig
from genae_core.models.base import AdamConfig, Autoencoder
from genae_core.models.config import ModelConfig
from genae_core.models.style_aae import StyleAAE, StyleAAEConfig
from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import CriticConfig
from genae_core.priors.base import PriorConfig
from genae_core.priors.mixture import GaussianMixture, RingPriorConfig
from genae_core.priors.normal import NormalPriorConfig
from genae_core.priors.swiss_roll import SwissRoll, SwissRollPriorConfig
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
from genae_core.recipes.recipes import DataOptions, Recipe, chain_of, recipe
from genae_core.report.plots import Cloud, scatter
from genae_core.samplers.ancestral import Ancestral
from genae_core.sweep.launcher import launch
from genae_core.sweep.options import LaunchOptions
from genae_core.tracking.mlflow_store import StoredRun, Tracker

Figure = Literal[
    "gaussian_aae",
    "gaussian_vae",
    "mixture_aae",
    "mixture_vae",
    "semi_supervised",
    "swiss_roll",
    "style",
]
LABELLED = ("semi_supervised", "swiss_roll")
COMPARED = ("gaussian_aae", "gaussian_vae", "mixture_aae", "mixture_vae")
PRIORS: dict[str, PriorConfig] = {
    "gaussian": NormalPriorConfig(),
    "mixture": RingPriorConfig(),
    "semi_supervised": RingPriorConfig(),
    "swiss_roll": SwissRollPriorConfig(),
}
CLASSES = 10
STYLE_DIM = 15
ROWS = 10  # of a style grid
MANIFOLDS = 3  # of the mixture's Gaussians
# Of these: images, and how many of them with a label; MNIST as the paper.
COUNTS = {"digits": (1_000, 200), "mnist": (50_000, 10_000), "svhn": (50_000, 10_000)}
# What the paper leaves open, from a search on MNIST's validation images: how many codes found
# their class's Gaussian. Two dimensions take an adversary that is quick beside the reconstruction:
# with Creswell et al.'s 2e-4 beside 1e-3 it was 20 % after 6 epochs, with 1e-3 72 %, with 4e-3
# beside 5e-4 82 %. After 15 epochs of that it is 88 %, and 97 % of the labelled training images:
# noise in the images closes that gap, and patience does the rest (90 % after 36 epochs). A style
# under the slow adversary keeps the class, and the decoder then ignores the one it is told; under
# this one 70 % of styles are drawn as the class told, after 4 epochs.
RECONSTRUCTION = AdamConfig(learning_rate=3e-4)
ADVERSARIAL = AdamConfig(learning_rate=4e-3, beta1=0.5)
CRITIC = CriticConfig(widths=(512, 512), dropout=0.0)
NOISE = 0.3  # in the images of labelled codes
PATIENCE = 6  # times the recipe's epochs


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions, LaunchOptions):
    """The flags of this study."""

    figures: tuple[Figure, ...] = get_args(Figure)
    """Which figures."""
    epochs: int | None = None
    """Passes over the training images (default: six times the dataset's recipe; style: once)."""


def model(figure: str, found: Recipe) -> ModelConfig:
    """What the figure is of."""
    if figure == "style":
        return StyleAAEConfig(
            style_dim=STYLE_DIM,
            num_classes=CLASSES,
            net=found.net,
            critic=CRITIC,
            optimizer=RECONSTRUCTION,
            adversarial_optimizer=ADVERSARIAL,
        )
    about, _, family = figure.rpartition("_")
    labelled = figure in LABELLED
    shared: dict[str, Any] = {
        "latent_dim": 2,
        "net": found.net,
        "prior": PRIORS[figure if labelled else about],
    }
    if family == "vae":
        return VAEConfig(**shared, optimizer=found.optimizer)
    return AAEConfig(
        **shared,
        num_classes=CLASSES if labelled else 0,
        noise=NOISE if labelled else 0.0,
        critic=CRITIC,
        optimizer=RECONSTRUCTION,
        adversarial_optimizer=ADVERSARIAL,
    )


class Drawn(NamedTuple):
    """cloud: the held-out codes, where they have two dimensions. agreement: of labelled codes of
    a mixture, the share of held-out images whose class's Gaussian is the most responsible one."""

    cloud: Cloud | None = None
    agreement: float | None = None


def draw(
    tracker: Tracker, run: StoredRun, figure: str, splits: Splits, binarize: bool, folder: Path
) -> Drawn:
    """A run's pictures, in the sweep's folder and in the run's artifacts."""
    name = f"{figure}_seed{run.tags['seed']}"
    trained = model_of(tracker, run)
    assert isinstance(trained, Autoencoder)

    def keep(picture: Picture, what: str) -> None:
        log_picture(tracker, run, picture, folder / f"{what}_{name}.png")

    keep(neighbours(trained, splits.train, binarize), "neighbours")
    if isinstance(trained, StyleAAE):
        rows = np.arange(min(ROWS, len(splits.test.images)))
        keep(styles(trained, images_of(splits.test, rows, binarize)), "styles")
        return Drawn()
    z = codes(trained, splits.test, binarize)
    cloud = Cloud(f"{len(z):,} held-out codes: {figure}", z.numpy(), splits.test.labels)
    log_clouds(tracker, [run], [cloud], folder / f"codes_{name}.png")
    prior = trained.latent_prior()
    if isinstance(prior, SwissRoll):
        keep(roll_walk(trained, prior), "walk")
    if figure == "gaussian_aae":
        keep(manifold(trained, torch.zeros(2), torch.eye(2)), "manifold")
    if figure != "semi_supervised":
        return Drawn(cloud)
    assert isinstance(prior, GaussianMixture)
    for k in range(MANIFOLDS):
        covariance = prior.factors[k] @ prior.factors[k].T
        keep(manifold(trained, prior.means[k], covariance), f"manifold{k}")
    found = prior.responsibilities(z).argmax(1).numpy()
    agreement = float((found == splits.test.labels).mean())
    tracker.log_scalars(run.run_id, {"code_agreement": agreement})
    return Drawn(cloud, agreement)


def log_clouds(tracker: Tracker, runs: list[StoredRun], clouds: list[Cloud], path: Path) -> None:
    """The clouds as a PNG at `path`, and in the runs' artifacts."""
    scatter(clouds, path)
    for run in runs:
        tracker.log_files(run.run_id, path, "figures")


def main(options: Options) -> int:
    """Train what the figures are of, and draw them."""
    unlabelled = options.dataset in ("celeba", "image_folder")
    require(not unlabelled, "these figures need ten classes", dataset=options.dataset)
    found = recipe(options)
    chain = chain_of(found, sampler=Ancestral(), batch_norm="running", record=(0,))

    def cell(params: dict[str, Any]) -> Experiment:
        figure = params["figure"]
        epochs = found.training.epochs * (1 if figure == "style" else PATIENCE)
        training = replace(found.training, epochs=options.epochs or epochs, decay="linear")
        if figure in LABELLED:
            used, labelled = COUNTS[options.dataset]
            if training.max_images is not None:  # a smoke run's
                used, labelled = training.max_images, training.max_images // 5
            training = replace(training, max_images=used, num_labelled=labelled)
        return Experiment(
            data=found.data,
            model=model(figure, found),
            training=training,
            chains=(chain,),
            classifier=found.classifier,
        )

    def on_end(tracker: Tracker, sweep: str, folder: Path) -> None:
        splits = load_splits(found.data, home(), options.shards)
        place = folder / "figures"
        place.mkdir(exist_ok=True)
        done = [run for run in tracker.read_runs(sweep) if run.status == "FINISHED"]
        drawn = []
        for run in done:
            figure = str(json.loads(run.tags["cell"])["figure"])
            made = draw(tracker, run, figure, splits, found.data.binarize, place)
            drawn.append((figure, run, made))
        # Figure 2: the AAE beside the VAE, of one seed.
        beside = {
            figure: (run, made.cloud)
            for figure, run, made in reversed(drawn)
            if made.cloud is not None and figure in COMPARED
        }
        if len(beside) > 1:
            pairs = [beside[figure] for figure in COMPARED if figure in beside]
            clouds = [cloud for _, cloud in pairs]
            log_clouds(tracker, [run for run, _ in pairs], clouds, place / "code_spaces.png")
        print(f"drawn:  {place}")
        shares = [made.agreement for _, _, made in drawn if made.agreement is not None]
        if shares:
            each = ", ".join(f"{100 * share:.1f}" for share in shares)
            print(
                "held-out codes whose class's Gaussian is the most responsible one: "
                f"{100 * statistics.mean(shares):.1f} % (seeds: {each})"
            )

    return launch("paper_figures", {"figure": options.figures}, cell, options, on_end)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
