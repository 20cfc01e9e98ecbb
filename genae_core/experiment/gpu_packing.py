"""How many trials fit on one GPU, measured before the sweep: --gpus-per-trial auto."""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from genae_core.config import require
from genae_core.data.base import Splits
from genae_core.distributions.rng import Draw
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.trial import run_trial
from genae_core.metrics.classifier import Classifier
from genae_core.nets.base import Shape
from genae_core.samplers.loop import FEW_STEPS
from genae_core.training.batches import DEVICE_FRACTION

# Room for the allocator's fragments, and for cells that a search has not proposed yet.
HEADROOM = 1.2
STEPS = 5  # optimiser steps after which a training's memory no longer grows


class Peak(NamedTuple):
    """Bytes of a GPU that a trial used, with its context, and bytes that the GPU has."""

    used: int
    total: int


def measure_peak(experiment: Experiment, splits: Splits, classifier: Classifier) -> Peak:
    """Train the experiment for a few steps on this process's GPU, and run a few steps of all its
    chains. Raises what the trial raises."""
    short = shorten(experiment, len(splits.train.images))
    run_trial(short, splits, classifier.to("cuda"), "cuda")
    free, total = torch.cuda.mem_get_info()
    # What the allocator caches counts as used, also after a capture has emptied its cache.
    most, now = torch.cuda.max_memory_reserved(), torch.cuda.memory_reserved()
    # The short training holds few of the images that the whole one holds.
    images = image_bytes(experiment, splits, total) - image_bytes(short, splits, total)
    return Peak(total - free + most - now + images, total)


def image_bytes(experiment: Experiment, splits: Splits, total: int) -> int:
    """Bytes of the training images that a trial holds on a GPU of `total` bytes: all of them, if
    `Batches` puts them there."""
    images = splits.train.images
    if not isinstance(images, np.ndarray):
        return 0
    size = int(images[: experiment.training.max_images].nbytes)
    return size if size <= DEVICE_FRACTION * total else 0


def shorten(experiment: Experiment, images: int) -> Experiment:
    """The experiment with few steps, which take as much memory as all of them.

    Chains that are long enough to be captured as CUDA graphs still are, and they are measured at
    as many steps, since what was measured is kept. images: the number of training images.
    """
    training = experiment.training
    chains = []
    for chain in experiment.chains:
        batches = -(-(chain.num_chains or 0) // chain.sub_batch)
        steps = len(chain.record)
        last = max(steps - 1, min(chain.record[-1], FEW_STEPS // max(1, batches) + 1))
        chains.append(dataclasses.replace(chain, record=(*range(steps - 1), last)))
    few = min(STEPS * training.batch_size, images)
    return dataclasses.replace(
        experiment,
        training=dataclasses.replace(training, epochs=1, max_images=few),
        chains=tuple(chains),
    )


def gpu_fraction(peak: Peak, at_most: int) -> float:
    """The fraction of a GPU that a trial gets: 1/n if n trials fit with some headroom.

    Args:
        peak: What one trial used.
        at_most: The number of trials that the CPUs of a GPU can run.

    Raises:
        ValueError: Not one trial fits.
    """
    fit = int(peak.total / (HEADROOM * peak.used))
    require(
        peak.used <= peak.total and at_most >= 1,
        "not one trial fits on the GPU",
        used=peak.used,
        total=peak.total,
    )
    return 1 / max(1, min(fit, at_most))


def largest_model(experiments: Iterable[Experiment], shape: Shape) -> Experiment:
    """The experiment whose model has the most parameters."""

    def size(experiment: Experiment) -> int:
        with Draw(0, "dry").as_global():
            model = experiment.model.build(shape)
        return sum(parameter.numel() for parameter in model.parameters())

    return max(experiments, key=size)
