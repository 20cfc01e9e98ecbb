"""An experiment: everything that decides a result, complete before the first step."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from genae_core.config import register, require, require_int
from genae_core.data.base import DataConfig, Splits
from genae_core.distributions.rng import Draw
from genae_core.metrics.classifier import ClassifierConfig, resolved_width
from genae_core.metrics.fcd import too_few
from genae_core.models.base import ModelConfig
from genae_core.nets.base import ComputeConfig, Shape, sampling_mode
from genae_core.priors.normal import IsotropicNormal
from genae_core.samplers.base import WithPrior
from genae_core.samplers.config import ChainConfig
from genae_core.training.checkpoint import check_finished
from genae_core.training.config import TrainingConfig


@register("experiment")
@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One training and the chains run from it.

    compute: how the model's networks do, in the trial's training and chains; None leaves it to
    the sweep, and is plain fp32 without one. seed: of the weights,
    the order of the images and the training's noise.
    """

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    chains: tuple[ChainConfig, ...]
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    compute: ComputeConfig | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require(len(self.chains) > 0, "chains must name at least one", chains=self.chains)
        require(
            len(set(self.chains)) == len(self.chains), "chains must differ", chains=self.chains
        )
        require_int(seed=self.seed)
        with torch.device("meta"):  # no memory, no randomness: only whether the shapes fit
            self.model.build(self.data.shape)
        side, halvings = self.data.shape[1], len(self.classifier.channels)
        require(
            side >> halvings >= 1,
            f"a classifier halves images of {side} px once a layer, at most to 1 px",
            channels=self.classifier.channels,
        )


def resolve(experiment: Experiment, splits: Splits) -> Experiment:
    """The experiment with every None that means "choose" replaced by what the data allows.

    Raises ValueError where it asks more of the data than there is.
    """
    half = min(len(splits.val.images), len(splits.test.images))
    chains = []
    for chain in experiment.chains:
        count = chain.num_chains or 2 * half
        require(
            count % 2 == 0 and 2 <= count // 2 <= half,
            "num_chains must be even, at least 4 and at most twice the smaller half of the "
            f"reference images ({2 * half} here): one half of the chains is compared with "
            "each, in equal counts",
            num_chains=count,
        )
        if chain.sampler.starts_from == "images":
            have, need = len(splits.train.images), chain.padded(count)
            require(
                need <= have,
                "a sampler that starts from images needs as many training "
                f"images as padded chains ({need}); take a smaller sub_batch",
                images=have,
            )
        chains.append(dataclasses.replace(chain, num_chains=count))
    smallest = min(chain.num_chains or 0 for chain in chains) // 2
    width = experiment.classifier.feature_width or resolved_width(half)
    require(
        width <= max(1, half // 4),
        "feature_width must be at most a quarter of the smaller "
        f"half of the reference images ({half})",
        feature_width=width,
    )
    train = len(splits.train.images)
    require(
        smallest <= train, "the floor needs as many training images as are compared", images=train
    )
    used = min(experiment.training.max_images or train, train)
    require(
        experiment.training.batch_size <= used,
        f"batch_size must be at most the {used} training images",
        batch_size=experiment.training.batch_size,
    )
    _check_labels(experiment, splits)
    _check_samplers(experiment)
    check_finished(experiment.model)
    classifier = dataclasses.replace(experiment.classifier, feature_width=width)
    return dataclasses.replace(experiment, chains=tuple(chains), classifier=classifier)


def _check_samplers(experiment: Experiment) -> None:
    """Raise ValueError where a sampler cannot run on this family."""
    for chain in experiment.chains:
        check_sampler(experiment.model, chain, experiment.data.shape)


def check_sampler(config: ModelConfig, chain: ChainConfig, shape: Shape) -> None:
    """Raise ValueError where a sampler cannot run on this family: an encoder or a latent law
    without a density, for one that needs it. Two chains are begun, on untrained weights."""
    with Draw(0, "dry").as_global():
        model: Any = config.build(shape)
    target = model
    if chain.fitted_prior is not None:  # what is fitted to the codes has a density, as this has
        target = WithPrior(model, IsotropicNormal(config.latent_dim))
    images = chain.sampler.starts_from == "images"
    start = torch.zeros(2, *shape) if images else 2
    with sampling_mode(model, "running"):
        chain.sampler.init(target, start, Draw(0))


def _check_labels(experiment: Experiment, splits: Splits) -> None:
    """Raise ValueError where the model needs labels that the data does not have."""
    classes = experiment.model.num_classes
    if classes == 0:
        return
    family, labels = experiment.model.family, splits.train.labels
    found = int(labels.max()) + 1 if labels.ndim == 1 else 0
    require(
        labels.ndim == 1 and found > 1,
        f"{family} needs a class for each image, and {experiment.data.name} has none",
        attributes=0 if labels.ndim == 1 else labels.shape[1],
    )
    require(
        found == classes,
        f"{family}: num_classes must be the {found} classes of {experiment.data.name}",
        num_classes=classes,
    )
    known = labels[: experiment.training.max_images][: experiment.training.num_labelled]
    require(
        len(np.unique(known)) == classes,
        f"{family} needs a labelled image of each of the {classes} classes; take a larger "
        "num_labelled",
        num_labelled=experiment.training.num_labelled,
        classes_among_them=len(np.unique(known)),
    )


def warnings_of(experiment: Experiment) -> list[str]:
    """What a user must know about a resolved experiment before believing its figures."""
    width = experiment.classifier.feature_width or 0
    fewest = min(chain.num_chains or 0 for chain in experiment.chains) // 2
    return [text for text in (too_few(fewest, width),) if text]
