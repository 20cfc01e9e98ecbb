"""Whether the loss of a GAN tells how good its samples are, for paper_tables.py.

WGAN and WGAN-GP say that the critic's loss falls as the samples become better (Arjovsky et al.
2017, figure 3; Gulrajani et al. 2017, figure 5), BEGAN the same of its measure of convergence
(Berthelot et al. 2017, section 3.4.1). At checkpoints of one training, the correlation of ranks of
the estimate and of the FCD on validation is 1 if it is so.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import nn

from genae_core.data.base import Splits
from genae_core.evaluation.chains import validation_fcd
from genae_core.evaluation.realism_measures import rank_correlation
from genae_core.evaluation.references import ReferenceData
from genae_core.experiment.experiment import Experiment, resolve
from genae_core.experiment.trial import replica_of
from genae_core.metrics.classifier import Classifier
from genae_core.recipes.gaussians import print_as_known
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.settings import replace_settings
from genae_core.recipes.study import image_space_experiment
from genae_core.samplers.config import ChainConfig
from genae_core.training.loop import fit
from genae_core.training.session import Progress

LATENT_DIM = 16
CHECKPOINTS = 20  # by default: one after each epoch
IMAGES = 20_000  # most training images, because a checkpoint each 60,000 would take hours


class Estimate(NamedTuple):
    """What a family's loss estimates.

    Attributes:
        name: What is compared with the FCD.
        of: It, from the terms of the loss.
    """

    name: str
    of: Callable[[Mapping[str, float]], float]


ESTIMATES = {
    "wgan_gp": Estimate("distance", lambda terms: -terms["critic"]),
    "began": Estimate("M_global", lambda terms: terms["convergence"]),
    "gan": Estimate("divergence", lambda terms: -terms["critic"]),
}


@dataclass(frozen=True, kw_only=True)
class LossRow:
    """The correlation of a family's estimate with the FCD in one training.

    Args:
        name: The family.
        estimate: What is compared with the FCD.
        seed: The seed of the training.
        spearman: The correlation of the ranks over the checkpoints; None if the FCD or the
            estimate is the same at all of them, as in a training that has collapsed at once.
        estimates: The estimate at each checkpoint.
        fcds: The FCD on validation at each checkpoint.
    """

    name: str
    estimate: str
    seed: int
    spearman: float | None
    estimates: list[float]
    fcds: list[float]

    def line(self) -> str:
        """The row as it is printed."""
        correlation = "n/a" if self.spearman is None else f"{self.spearman:.2f}"
        fcd, value = (f"{a[0]:.3g} to {a[-1]:.3g}" for a in (self.fcds, self.estimates))
        return (
            f"{self.name:<10} {self.estimate:<10} {self.seed:>4} {correlation:>9} "
            f"{value:>18} {fcd:>16}"
        )


def loss_experiment(study: StudyOptions, family: str, chain: ChainConfig) -> Experiment:
    """The experiment of a family, whose training has as many epochs as there are checkpoints.

    The samples are those of the weights to which the loss belongs, and not of their average.

    Args:
        study: The study's flags.
        family: The family's name in ESTIMATES.
        chain: The draws from the prior that are measured.
    """
    experiment = image_space_experiment(study, family, LATENT_DIM, (chain,))
    training = experiment.training
    assert training is not None
    images = min(training.max_images or IMAGES, IMAGES)
    epochs = training.epochs if study.epochs is not None else CHECKPOINTS
    return replace(
        experiment,
        model=replace_settings(experiment.model, {"average": 0.0}),
        training=replace(training, epochs=epochs, max_images=images),
    )


def loss_rows(
    experiments: Mapping[str, Experiment],
    seeds: Sequence[int],
    splits: Splits,
    classifier: Classifier,
) -> Iterator[LossRow]:
    """Train each family with each seed, and compare its estimate with the FCD.

    Args:
        experiments: The experiment of each family.
        seeds: The seeds.
        splits: The images.
        classifier: The classifier whose features the FCD compares.

    Yields:
        The row of a training, when it has ended.
    """
    for family, unresolved in experiments.items():
        experiment = resolve(unresolved, splits)
        estimate = ESTIMATES[family]
        data = ReferenceData(splits, classifier, experiment.data.binarize)
        for seed in seeds:
            values, fcds = _train(replace(experiment, seed=seed), splits, data, estimate)
            correlation = rank_correlation(torch.tensor(values), torch.tensor(fcds))
            yield LossRow(
                name=experiment.model.family,
                estimate=estimate.name,
                seed=seed,
                spearman=correlation if math.isfinite(correlation) else None,
                estimates=values,
                fcds=fcds,
            )


def _train(
    experiment: Experiment, splits: Splits, data: ReferenceData, estimate: Estimate
) -> tuple[list[float], list[float]]:
    """Train a model, and return the estimate and the FCD after each epoch."""
    values: list[float] = []
    fcds: list[float] = []

    def measure(model: nn.Module, progress: Progress) -> None:
        values.append(estimate.of(progress.terms))
        with torch.no_grad():
            fcds.append(validation_fcd(model, experiment.chains[0], data))

    assert experiment.training is not None
    model, stages, examples, draw, callbacks = replica_of(experiment, splits, on_epoch=measure)
    fit(model, stages, examples, experiment.training, draw, callbacks)
    return values, fcds


def print_loss_table(
    experiments: Mapping[str, Experiment],
    seeds: Sequence[int],
    splits: Splits,
    classifier: Classifier,
) -> list[LossRow]:
    """Measure the table loss_tracks_quality, and print each row as soon as it is known."""
    return print_as_known(
        "Spearman's correlation of an estimate with the FCD after each epoch (n/a: one of them is "
        "the same at all epochs)",
        f"{'':<10} {'estimate':<10} seed  Spearman  first to last value  first to last FCD",
        loss_rows(experiments, seeds, splits, classifier),
    )
