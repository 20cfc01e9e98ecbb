"""Interpolations between held-out images, before and after steps of the chain.

Creswell et al. 2017, figure 2; figures 5, 6 and 8 of its supplement.
Shapes: S steps, N pairs, P points of a path, C channels, H rows, W columns.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genae_core.data.base import Split
from genae_core.distributions.rng import Draw
from genae_core.evaluation.image_grids import Picture, labelled_rows
from genae_core.models.base import Autoencoder
from genae_core.recipes.pictures import first_models, images_of, log_picture, model_of
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.interpolation import interpolate
from genae_core.samplers.means import chain_means
from genae_core.tracking.mlflow_store import Tracker

INTERPOLATED_STEPS = (0, 1, 5, 10)  # steps of the chain that interpolations show
POINTS, PAIRS = 10, 4  # points of a path, with both ends, and pairs of images


def interpolated_images(model: Autoencoder, ends: Tensor, chain: ChainConfig) -> Tensor:
    """The images of spherical paths between encoded images, at INTERPOLATED_STEPS of the chain.

    The points of all pairs are one batch, and the chain normalises them as its config says.

    Args:
        model: The trained model.
        ends: Pairs of images, [2, N, C, H, W] in [0, 1].
        chain: The config of the chain.

    Returns:
        The means of p(x|z), [S, N, P, C, H, W] in [0, 1].
    """
    z = interpolate(model, ends, POINTS, Draw(chain.seed, "interpolated"), "spherical")
    config = dataclasses.replace(
        chain,
        sampler=EncodeDecode(),
        fitted_prior=None,
        record=INTERPOLATED_STEPS,
        sub_batch=z.shape[0] * POINTS,
    )
    means = chain_means(model, config, config.sub_batch, start=z.flatten(0, 1))
    images = torch.stack([means[step] for step in INTERPOLATED_STEPS])
    return images.reshape(len(images), *z.shape[:2], *images.shape[2:])


def path_ends(split: Split, chain: ChainConfig, shown: int, binarize: bool) -> Tensor:
    """The first images of a split as pairs [2, N, C, H, W], of which the first `shown` are drawn.

    There are as many pairs as fill a batch of the chain, if the split has enough images, because
    the points of a few pairs alone would be a batch of images that are much alike.
    """
    pairs = min(max(shown, chain.sub_batch // POINTS), len(split.images) // 2)
    ends = images_of(split, np.arange(2 * pairs), binarize)
    return ends.reshape(2, pairs, *ends.shape[1:])


def interpolations(model: Autoencoder, ends: Tensor, chain: ChainConfig) -> Picture:
    """Draw the first paths between pairs of images, with a row for each pair and step."""
    images = interpolated_images(model, ends, chain)[:, :PAIRS]  # S N P C H W
    labels = [f"step {step}" for step in INTERPOLATED_STEPS] * images.shape[1]
    return labelled_rows(images.transpose(0, 1).flatten(0, 1), labels)


def draw_interpolations(
    tracker: Tracker, sweep: str, split: Split, binarize: bool, chain: ChainConfig, folder: Path
) -> None:
    """Draw the interpolations of the first seed's model of each cell.

    Args:
        tracker: The store of the sweep; the runs get the pictures as artifacts.
        sweep: The sweep's name.
        split: The split whose first images are interpolated.
        binarize: Whether the models see binarised images.
        chain: The config of the chain that runs on the points.
        folder: The folder of the pictures, which is made.
    """
    folder.mkdir(exist_ok=True)
    ends = path_ends(split, chain, PAIRS, binarize)
    for run in first_models(tracker, sweep):
        model = model_of(tracker, run)
        if isinstance(model, Autoencoder):
            picture = interpolations(model, ends, chain)
            name = f"{run.tags['family']}-{run.tags['latent_dim']}".replace(" ", "_")
            log_picture(tracker, run, picture, folder / f"interpolations_{name}.png")
