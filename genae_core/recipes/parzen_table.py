"""The MNIST column of Table 1 of Makhzani et al. 2016, for paper_tables.py.

The data is MNIST with real-valued pixels. The model is an AAE with an 8-D code, a Gaussian prior
of standard deviation 5, two layers of 1,000 ReLU units in encoder, decoder and critic, and a
Euclidean cost (section 4, footnote 1); GMMN+AE, GAN and GMMN can stand beside it (see
parzen_models.py). Samples are the decoder's means. The window's sigma is chosen on held-out
training images for the number of samples that is used, because more samples need a narrower
window. The test images are read once, at the end. Two further rows take real training images and
k-means centroids as samples, which shows what the measure rewards (Theis et al. 2016).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from genae_core.config.progress import track
from genae_core.data.base import Split, Splits
from genae_core.data.mnist import MNISTConfig
from genae_core.distributions.rng import Draw
from genae_core.experiment.experiment import Experiment
from genae_core.metrics.classifier import ClassifierConfig
from genae_core.metrics.estimate import mean_of
from genae_core.metrics.parzen import LogLikelihood, choose_bandwidth, log_likelihood
from genae_core.models.base import GenerativeModel
from genae_core.nets.base import sampling_mode
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.paper_rows import Row, print_rows
from genae_core.recipes.parzen_models import MODELS
from genae_core.recipes.parzen_stream import stream_densities
from genae_core.recipes.pictures import model_of
from genae_core.recipes.swept_table import SweptTable, grey_mnist, prior_draws, splits_of
from genae_core.report.intervals import interval
from genae_core.samplers.config import ChainConfig
from genae_core.tracking.mlflow_store import StoredRun, Tracker
from genae_core.training.batches import to_pixels
from genae_core.training.config import TrainingConfig

# The paper's values by model and number of samples, each with its standard error.
PUBLISHED: dict[str, dict[int, tuple[float, float | None]]] = {
    "DBN (Hinton et al. 2006)": {10_000: (138.0, 2.0)},
    "Stacked CAE (Bengio et al. 2013)": {10_000: (121.0, 1.6)},
    "Deep GSN (Bengio et al. 2014)": {10_000: (214.0, 1.1)},
    "GAN": {10_000: (225.0, 2.0), 10_000_000: (386.0, None)},
    "GMMN+AE": {10_000: (282.0, 2.0)},
    "AAE": {10_000: (340.0, 2.0), 10_000_000: (427.0, None)},
}
TRAINED, HELD_OUT = 50_000, 5_000  # of the 60,000 training images
FEW = 10_000  # samples for the choice of sigma, and samples of the two reference rows
BLOCK = 10_000  # samples that are drawn at a time
LEAST_HELD_OUT = 500  # held-out images for the choice of sigma if the samples are many
SIGMAS = tuple(round(0.08 + 0.01 * k, 2) for k in range(25))


def parzen_table(study: StudyOptions, families: Sequence[str], samples: int) -> SweptTable:
    """The table of a study.

    Args:
        study: The study's flags.
        families: The models to measure, names of MODELS.
        samples: The number of samples of each.
    """
    chain, data = prior_draws(study), grey_mnist(study)
    classifier = dataset_recipe(study).classifier

    def experiment(params: Mapping[str, Any]) -> Experiment:
        return parzen_experiment(params["family"], data, chain, classifier, study.smoke)

    def show(tracker: Tracker, sweep: str, folder: Path) -> list[Row]:
        runs = [run for run in tracker.read_runs(sweep) if run.status == "FINISHED"]
        rows = parzen_rows(tracker, runs, splits_of(study, data), samples, folder)
        print_rows(rows)
        return rows

    return SweptTable({"family": families}, experiment, show)


def parzen_experiment(
    family: str, data: MNISTConfig, chain: ChainConfig, classifier: ClassifierConfig, smoke: bool
) -> Experiment:
    """The experiment of a model of the table.

    Args:
        family: The family's name in parzen_models.MODELS.
        data: MNIST, not binarised.
        chain: The config of the chain, whose FCD is measured too.
        classifier: The config of the FCD's classifier.
        smoke: Whether to train for one epoch on fewer images.
    """
    chosen = MODELS[family]()
    training = TrainingConfig(
        epochs=1 if smoke else chosen.epochs,
        batch_size=chosen.batch_size,
        max_images=6_000 if smoke else TRAINED,
        decay="linear",
    )
    return Experiment(
        data=data, model=chosen.model, training=training, chains=(chain,), classifier=classifier
    )


def parzen_rows(
    tracker: Tracker, runs: Sequence[StoredRun], splits: Splits, samples: int, folder: Path
) -> list[Row]:
    """The row of each family over its seeds, then the two reference rows.

    Args:
        tracker: The store of the sweep.
        runs: The finished runs, one for each family and seed.
        splits: The images of MNIST.
        samples: The number of samples of each model.
        folder: The folder of the running sums, from which a killed measurement continues.
    """
    held_out = _flat(splits.train, np.arange(TRAINED, TRAINED + HELD_OUT))
    models = [model_of(tracker, run) for run in runs]
    choosing = held_out[: max(LEAST_HELD_OUT, HELD_OUT * FEW // max(samples, FEW))]
    states = [folder / f"parzen-{run.run_id}" for run in runs]
    sigmas = []
    for model, state in zip(models, states, strict=True):
        densities = _stream(model, samples, choosing, SIGMAS, state)
        sigmas.append(SIGMAS[int(densities.mean(1).argmax())])
    real = _flat(splits.train, np.random.default_rng(0).permutation(TRAINED)[:FEW])
    means = torch.from_numpy(_centroids(_flat(splits.train, np.arange(TRAINED)).numpy()))
    samples_of = {"real images as samples": real, "k-means centroids": means}
    references = [
        (name, flat, choose_bandwidth(flat, held_out, SIGMAS))
        for name, flat in track(list(samples_of.items()), "choosing windows", "reference rows")
    ]
    # Everything above is decided before the test images are read.
    test = torch.cat([_flat(split, np.arange(len(split.images))) for split in splits[1:3]])
    values = [
        LogLikelihood(*mean_of(_stream(model, samples, test, [sigma], state)[0]))
        for model, sigma, state in zip(models, sigmas, states, strict=True)
    ]
    by_family: dict[str, list[LogLikelihood]] = {}
    for run, model, value, sigma in zip(runs, models, values, sigmas, strict=True):
        family = _family_of(model)
        by_family.setdefault(family, []).append(value)
        text = f"{family}, seed {run.tags['seed']}: {value.mean:.1f} ± {value.error:.1f}"
        print(f"{text} at sigma {sigma:g}")
    for name, published in PUBLISHED.items():
        known = published.get(samples)
        if known is not None and name not in by_family:
            nats, error = known
            print(f"published, {name}: {nats:g}" + ("" if error is None else f" ± {error:g}"))
    rows = []
    for family, of_seeds in by_family.items():
        known = PUBLISHED.get(family, {}).get(samples)
        paper = None if known is None else known[0]
        rows.append(_row(f"{family} ({samples:,} samples)", paper, of_seeds))
    counts = sorted({count for published in PUBLISHED.values() for count in published})
    if samples not in counts:
        print(f"the paper has values for {' and '.join(f'{n:,}' for n in counts)} samples only")
    for name, flat, sigma in references:
        rows.append(_row(name, None, [log_likelihood([flat], test, sigma)]))
    return rows


def _family_of(model: Any) -> str:
    """The family's name in the literature."""
    family: str = model.config.family
    return family


def _row(name: str, paper: float | None, values: Sequence[LogLikelihood]) -> Row:
    """A row with the mean over seeds. A single value has an interval over the test images."""
    mean, low, high = interval([value.mean for value in values])
    if len(values) == 1:
        half = 1.96 * values[0].error
        low, high = mean - half, mean + half
    return Row(name=name, paper=paper, mean=mean, low=low, high=high, n=len(values))


def _stream(
    model: GenerativeModel, count: int, images: Tensor, sigmas: Sequence[float], state: Path
) -> Tensor:
    """The log-densities [K, M] of the images under windows on `count` decoded draws."""
    sizes = [min(BLOCK, count - first) for first in range(0, count, BLOCK)]

    def block(number: int) -> Tensor:
        z = model.latent_prior().sample(Draw(0, "parzen", number), (sizes[number],))
        return model.decode(z).mean.flatten(1)

    with torch.no_grad(), sampling_mode(model, "running"):
        return stream_densities(block, sizes, images, sigmas, state)


def _flat(split: Split, rows: np.ndarray) -> Tensor:
    """The images in these rows of the split, as vectors [N, D] in [0, 1]."""
    images = np.asarray(split.images[rows])
    return to_pixels(images, False, torch.device("cpu")).flatten(1)


def _centroids(images: np.ndarray) -> np.ndarray:
    """Centroids of the training images, as many as the other reference row has samples."""
    # k-means starts from random images: k-means++ would read all images ten thousand times.
    means = MiniBatchKMeans(
        FEW, init="random", batch_size=20_000, n_init=1, max_iter=5, random_state=0
    )
    centroids: np.ndarray = means.fit(images).cluster_centers_
    return centroids
