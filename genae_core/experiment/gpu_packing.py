"""How many trials one GPU holds, measured before the sweep: --gpus-per-trial auto."""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import torch

from genae_core.config import require
from genae_core.data.base import Splits
from genae_core.distributions.rng import Draw
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.trial import run_trial
from genae_core.metrics.classifier import Classifier
from genae_core.nets.base import Shape
from genae_core.samplers.loop import FEW_STEPS

HEADROOM = 1.2  # the allocator's fragments, and cells that a search has not seen yet
STEPS = 5  # of the optimiser, after which its memory has stopped growing


class Peak(NamedTuple):
    """Bytes that a trial took of a GPU, with its context, and bytes that the GPU has."""

    used: int
    total: int


def measure(experiment: Experiment, splits: Splits, classifier: Classifier) -> Peak:
    """Train the experiment for a few steps on this process's GPU and run its chains, all of them,
    for a few steps. Raises what the trial raises."""
    run_trial(short(experiment, len(splits.train.images)), splits, classifier.to("cuda"), "cuda")
    free, total = torch.cuda.mem_get_info()
    # What the allocator has cached counts as used, also where a recording has emptied its cache.
    most, now = torch.cuda.max_memory_reserved(), torch.cuda.memory_reserved()
    return Peak(total - free + most - now, total)


def short(experiment: Experiment, images: int) -> Experiment:
    """A few steps of it that take as much memory: chains that would be recorded are recorded.
    images: that there are."""
    training = experiment.training
    chains = []
    for chain in experiment.chains:
        batches = -(-(chain.num_chains or 0) // chain.sub_batch)
        last = min(chain.record[-1], FEW_STEPS // max(1, batches) + 1)
        chains.append(dataclasses.replace(chain, record=(0, last) if last else (0,)))
    few = min(STEPS * training.batch_size, images)
    return dataclasses.replace(
        experiment,
        training=dataclasses.replace(training, epochs=1, max_images=few),
        chains=tuple(chains),
    )


def share(peak: Peak, at_most: int) -> float:
    """The share of a GPU for a trial: 1/n where n fit with some headroom, and no more than
    `at_most`, which the CPUs hold. Raises ValueError where not one fits."""
    fit = int(peak.total / (HEADROOM * peak.used))
    require(
        peak.used <= peak.total and at_most >= 1,
        "not one trial fits on the GPU",
        used=peak.used,
        total=peak.total,
    )
    return 1 / max(1, min(fit, at_most))


def largest(experiments: Iterable[Experiment], shape: Shape) -> Experiment:
    """The experiment whose model has the most parameters."""

    def size(experiment: Experiment) -> int:
        with Draw(0, "dry").as_global():
            model = experiment.model.build(shape)
        return sum(parameter.numel() for parameter in model.parameters())

    return max(experiments, key=size)
