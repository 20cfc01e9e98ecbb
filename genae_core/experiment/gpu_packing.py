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
    """The memory of a GPU.

    Attributes:
        used: The bytes that a trial used, with its CUDA context.
        total: The bytes that the GPU has.
    """

    used: int
    total: int


def measure_peak(experiment: Experiment, splits: Splits, classifier: Classifier) -> Peak:
    """Measure the memory of a short trial: a few steps of the training and of all chains.

    The trial runs on this process's GPU. Raises what the trial raises.
    """
    short = shorten(experiment, len(splits.train.images))
    run_trial(short, splits, classifier.to("cuda"), "cuda")
    free, total = torch.cuda.mem_get_info()
    # What the allocator caches counts as used, also after a capture has emptied its cache.
    most, now = torch.cuda.max_memory_reserved(), torch.cuda.memory_reserved()
    # The short training holds only a few of the images that the whole training holds.
    images = image_bytes(experiment, splits, total) - image_bytes(short, splits, total)
    return Peak(total - free + most - now + images, total)


def image_bytes(experiment: Experiment, splits: Splits, total: int) -> int:
    """The bytes of the training images that a trial holds on a GPU of `total` bytes.

    `Batches` holds all of them there or none.
    """
    images, training = splits.train.images, experiment.training
    if not isinstance(images, np.ndarray) or training is None:
        return 0
    size = int(images[: training.max_images].nbytes)
    return size if size <= DEVICE_FRACTION * total else 0


def shorten(experiment: Experiment, images: int) -> Experiment:
    """The experiment with fewer steps, which needs as much memory as the whole experiment.

    A chain that is long enough to be captured as a CUDA graph is still long enough, and as many of
    its steps are recorded, since the records stay in memory.

    images: the number of training images.
    """
    training = experiment.training
    chains = []
    for chain in experiment.chains:
        batches = -(-(chain.num_chains or 0) // chain.sub_batch)
        steps = len(chain.record)
        last = max(steps - 1, min(chain.record[-1], FEW_STEPS // max(1, batches) + 1))
        chains.append(dataclasses.replace(chain, record=(*range(steps - 1), last)))
    if training is not None:
        few = min(STEPS * training.batch_size, images)
        training = dataclasses.replace(training, epochs=1, max_images=few)
    return dataclasses.replace(experiment, training=training, chains=tuple(chains))


def gpu_fraction(peak: Peak, at_most: int) -> float:
    """The fraction of a GPU that a trial gets: 1/n if n trials fit with some headroom.

    Args:
        peak: The memory that one trial used.
        at_most: The number of trials that the CPUs beside one GPU can run.

    Raises:
        ValueError: Not even one trial fits.
    """
    fit = int(peak.total / (HEADROOM * peak.used))
    require(
        peak.used <= peak.total and at_most >= 1,
        "not even one trial fits on the GPU",
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
