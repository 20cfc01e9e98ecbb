"""Pictures of a trained model as the papers show them.

Shapes: N images, C channels, H rows, W columns, D latent dimension.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import norm
from torch import Tensor

from genae_core.data.base import Split
from genae_core.distributions.rng import Draw
from genae_core.evaluation.image_grids import Picture, grid
from genae_core.models.base import Autoencoder, GenerativeModel, encode_all
from genae_core.models.style_aae import StyleAAE
from genae_core.priors.swiss_roll import SwissRoll
from genae_core.tracking.mlflow_store import StoredRun, Tracker
from genae_core.training import checkpoint
from genae_core.training.batches import Batches, to_pixels

CPU = torch.device("cpu")
BLOCK = 2_000  # images that are compared at a time
SIDE = 20  # images along each side of a manifold
# A manifold goes from the 2.5th to the 97.5th percentile of the code; the papers state no ends.
TAIL = 0.025


def model_of(tracker: Tracker, run: StoredRun) -> GenerativeModel:
    """The trained model of a run, ready to be sampled."""
    with tempfile.TemporaryDirectory() as scratch:
        return checkpoint.load_model(tracker.fetch(run.run_id, "checkpoint", Path(scratch)))


def first_models(
    tracker: Tracker, sweep: str, metrics: Sequence[str] | None = None
) -> list[StoredRun]:
    """The run that holds the model of the lowest seed of each cell, of the finished ones.

    Args:
        tracker: The store of the sweep.
        sweep: The sweep's name.
        metrics: The histories that are read, as in `Tracker.read_runs`.
    """
    models = [
        run
        for run in tracker.read_runs(sweep, metrics)
        if run.status == "FINISHED" and run.tags["stage"] == "model"
    ]
    first: dict[str, StoredRun] = {}
    for run in sorted(models, key=lambda run: int(run.tags["seed"])):
        first.setdefault(run.tags["cell"], run)
    return list(first.values())


def log_picture(tracker: Tracker, run: StoredRun, picture: Picture, path: Path) -> None:
    """Save the picture as a PNG at `path`, and put it into the run's artifacts."""
    Image.fromarray(picture).save(path)
    tracker.log_files(run.run_id, path, "figures")


def images_of(split: Split, rows: NDArray[np.int64], binarize: bool) -> Tensor:
    """The images in these rows of the split, [N, C, H, W] in [0, 1]."""
    return to_pixels(np.asarray(split.images[rows]), binarize, CPU)


def codes(model: Autoencoder, split: Split, binarize: bool) -> Tensor:
    """The mean of q(z|x) of every image of the split, [N, D]."""
    return encode_all(model, Batches(split, len(split.images), binarize, CPU).examples())


def manifold(model: GenerativeModel, mean: Tensor, covariance: Tensor) -> Picture:
    """Draw the decoder's means at uniformly spaced percentiles of N(mean [2], covariance [2, 2]).

    Makhzani et al. 2016, figures 2e and 4b.
    """
    variances, axes = torch.linalg.eigh(covariance)
    along = torch.from_numpy(norm.ppf(np.linspace(TAIL, 1 - TAIL, SIDE))).float()
    # As in a plot, the first coordinate rises to the right and the second falls downwards.
    second, first = torch.meshgrid(-along, along, indexing="ij")
    eps = torch.stack([first, second], -1).reshape(-1, 2)
    return decode_grid(model, mean + (eps * variances.sqrt()) @ axes.T, SIDE)


def roll_walk(model: GenerativeModel, roll: SwissRoll) -> Picture:
    """Draw ten images for each class, at equal distances along the roll's axis, row by row.

    Makhzani et al. 2016, figure 4d.
    """
    return decode_grid(model, roll.axis((torch.arange(100) + 0.5) / 100), 10)


def styles(model: StyleAAE, x: Tensor) -> Picture:
    """Draw a row for each image [N, C, H, W]: the image, then its style with each class.

    Makhzani et al. 2016, figure 5.
    """
    count = model.config.num_classes
    with torch.no_grad():
        style = model.encoder(x)
        classes = torch.eye(count).repeat(len(x), 1)
        z = torch.cat([style.repeat_interleave(count, 0), classes], 1)
        restyled = model.decode(z).mean.reshape(len(x), count, *x.shape[1:])
    return grid(torch.cat([x[:, None], restyled], 1).flatten(0, 1), count + 1)


def neighbours(model: GenerativeModel, split: Split, binarize: bool, count: int = 10) -> Picture:
    """Draw samples of the model, each above the training image that is closest to it in pixels.

    A model that copies its training images shows equal rows. Makhzani et al. 2016, figure 6.
    """
    samples = prior_samples(model, Draw(0, "neighbours"), count)
    best = torch.full((count,), torch.inf)
    closest = torch.empty_like(samples)
    for first in range(0, len(split.images), BLOCK):
        rows = np.arange(first, min(first + BLOCK, len(split.images)))
        images = images_of(split, rows, binarize)
        distance, index = torch.cdist(samples.flatten(1), images.flatten(1)).min(1)
        nearer = distance < best
        best = torch.minimum(best, distance)
        closest[nearer] = images[index[nearer]]
    return grid(torch.cat([samples, closest]), count)


def prior_samples(model: GenerativeModel, draw: Draw, count: int) -> Tensor:
    """The means of p(x|z) with z from the model's own distribution, [count, C, H, W].

    The model is in evaluation mode, as a loaded one is.
    """
    with torch.no_grad():
        return model.decode(model.latent_prior().sample(draw, (count,))).mean


def decode_grid(model: GenerativeModel, z: Tensor, columns: int) -> Picture:
    """Draw the means of p(x|z) for z [N, D] in rows of `columns` images."""
    with torch.no_grad():
        return grid(model.decode(z).mean, columns)
