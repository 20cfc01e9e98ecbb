"""An experiment: everything that decides a result, complete before the first optimiser step."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from genae_core.config import later_field, register, require, require_int
from genae_core.config.types import check_parts
from genae_core.data.base import DataConfig, Splits
from genae_core.distributions.rng import Draw
from genae_core.evaluation.own_metrics import try_metrics
from genae_core.metrics.classifier import ClassifierConfig, resolve_feature_width
from genae_core.metrics.fcd import few_images_warning
from genae_core.metrics.sample_metric import SampleMetric, check_metrics
from genae_core.models.config import ModelConfig, check_model_config, is_trained
from genae_core.nets.base import ComputeConfig, Shape, sampling_mode
from genae_core.nets.unfilled import unfilled
from genae_core.priors.normal import IsotropicNormal
from genae_core.samplers.base import NO_ENCODER, DecoderAlone, ModelWithPrior, has_encoder
from genae_core.samplers.config import ChainConfig
from genae_core.training.checkpoint import check_finished
from genae_core.training.config import TrainingConfig

BYTES_PER_WEIGHT = 16  # a weight, its gradient and two moments of Adam, in fp32


@register("experiment")
@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One training, and the chains that run over the trained model.

    Args:
        data: The dataset and how it is split.
        model: The family and its settings.
        training: The length and the batch size of the training; None for a model that is already
            trained, and only then.
        chains: The configs of the chains, at least one.
        classifier: The classifier whose features the FCD compares.
        compute: The precision and the memory layout of the model's networks, in the training and
            in the chains. None leaves the choice to the sweep; without a sweep it means plain
            fp32.
        seed: The seed of the weights, of the order of the images and of the training's noise.
        metrics: Metrics of your own, which are measured at each recorded step of the chains.

    Raises:
        ValueError: There is no chain, two chains are equal, the networks do not fit the images,
            the training does not fit the model, or a metric lacks something.
    """

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig | None
    chains: tuple[ChainConfig, ...]
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    compute: ComputeConfig | None = None
    seed: int = 0
    metrics: tuple[SampleMetric, ...] = later_field(())

    def __post_init__(self) -> None:
        require(len(self.chains) > 0, "chains must name at least one", chains=self.chains)
        require(
            len(set(self.chains)) == len(self.chains), "chains must differ", chains=self.chains
        )
        require_int(seed=self.seed)
        check_model_config(self.model)
        trained = is_trained(self.model)
        require(
            trained == (self.training is None),
            f"{self.model.family} is already trained, so training must be None"
            if trained
            else f"{self.model.family} must be trained, so training must not be None",
            training=self.training,
        )
        check_parts(self)
        check_metrics(self.metrics)
        self.count_weights()
        side, halvings = self.data.shape[1], len(self.classifier.channels)
        require(
            side >> halvings >= 1,
            f"a classifier halves images of {side} px once a layer, at most to 1 px",
            channels=self.classifier.channels,
        )

    def count_weights(self) -> int:
        """The number of weights that the training trains; 0 if there is no training.

        Raises:
            ValueError: The networks do not fit the images, or are too large for torch.
        """
        if self.training is None:
            return 0
        try:
            return _count_weights(self.model, self.data.shape)  # type: ignore[arg-type]  # frozen
        except (RuntimeError, OverflowError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"the model {self.model} cannot be built: {reason}") from None


@functools.lru_cache(maxsize=1024)  # an experiment is made anew with each field that is filled in
def _count_weights(model: ModelConfig, shape: Shape) -> int:
    """The number of the weights, from a build that takes no memory and draws nothing."""
    with unfilled():
        built: Any = model.build(shape)
    return sum(weight.numel() for weight in built.parameters())


def check_memory(experiments: Iterable[Experiment], memory: float) -> None:
    """Check that the memory of a machine holds the training of each experiment.

    A training holds each weight, its gradient and two moments of Adam, in fp32.

    Args:
        experiments: The experiments, of which each is trained alone.
        memory: The memory in bytes.

    Raises:
        ValueError: A training needs more than the memory.
    """
    weights = {experiment.model: experiment.count_weights() for experiment in experiments}
    model, count = max(weights.items(), key=lambda pair: pair[1])
    needed = BYTES_PER_WEIGHT * count
    require(
        needed <= memory,
        f"a {model.family} of latent dimension {model.latent_dim} has {count:,} weights, and its "
        f"training needs {needed / 2**30:,.1f} GiB or more; a trial can have "
        f"{memory / 2**30:,.1f} GiB. Take a smaller latent dimension or network",
        weights=count,
    )


def resolve(experiment: Experiment, splits: Splits) -> Experiment:
    """Fill in what an experiment leaves open and the data decides.

    Args:
        experiment: The experiment as a study wrote it.
        splits: The images of the experiment.

    Returns:
        The experiment with a number of chains in each chain config, and with a feature width.

    Raises:
        ValueError: The experiment needs more images than the data has, a sampler cannot run over
            its family, or a metric of the user's own fails on real images.
    """
    half = min(len(splits.val.images), len(splits.test.images))
    require(
        half >= 2,
        "the splits val and test need at least 2 images each, with which the samples are compared;"
        " add images",
        val=len(splits.val.images),
        test=len(splits.test.images),
    )
    chains = tuple(_resolved_chain(chain, splits, half) for chain in experiment.chains)
    classifier = resolve_feature_width(experiment.classifier, half)
    compared = min(chain.num_chains or 0 for chain in chains) // 2
    _check_training_images(experiment, splits, compared)
    _check_labels(experiment, splits)
    _raise_first(sampler_obstacles(experiment.model, experiment.chains, experiment.data.shape))
    try_metrics(experiment.metrics, splits, experiment.data.binarize, compared)
    check_finished(experiment.model)
    return dataclasses.replace(experiment, chains=chains, classifier=classifier)


def _resolved_chain(chain: ChainConfig, splits: Splits, half: int) -> ChainConfig:
    """The config with a number of chains.

    half: the number of images in the smaller half of the reference images.
    """
    count = chain.num_chains or 2 * half
    require(
        count % 2 == 0 and 2 <= count // 2 <= half,
        "num_chains must be even, at least 4 and at most twice the smaller half of the "
        f"reference images ({2 * half} here), because each half of the chains is compared with "
        "as many images of one half",
        num_chains=count,
    )
    if chain.sampler.starts_from == "images":
        have, need = len(splits.train.images), chain.round_up(count)
        require(
            need <= have,
            "a sampler that starts from images needs as many training "
            f"images as padded chains ({need}); take a smaller sub_batch",
            images=have,
        )
    return dataclasses.replace(chain, num_chains=count)


def _check_training_images(experiment: Experiment, splits: Splits, compared: int) -> None:
    """Raise ValueError if there are too few training images for a batch or for the FCD's floor.

    compared: the number of generated images that the FCD compares; the floor needs as many.
    """
    train = len(splits.train.images)
    require(
        compared <= train, "the floor needs as many training images as are compared", images=train
    )
    if experiment.training is None:
        return
    used = min(experiment.training.max_images or train, train)
    require(
        experiment.training.batch_size <= used,
        f"batch_size must be at most the {used} training images",
        batch_size=experiment.training.batch_size,
    )


def check_sampler(config: ModelConfig, chain: ChainConfig, shape: Shape) -> None:
    """Check that a sampler can run over a family.

    Args:
        config: The config of the family.
        chain: The config of the chain.
        shape: (C, H, W) of an image.

    Raises:
        ValueError: The sampler needs an encoder or a density that the model does not have.
    """
    _raise_first(sampler_obstacles(config, (chain,), shape))


def sampler_obstacles(
    config: ModelConfig, chains: Iterable[ChainConfig], shape: Shape
) -> dict[ChainConfig, str]:
    """Why samplers cannot run over a family, tried by starting two chains on its untrained model.

    Args:
        config: The config of the family.
        chains: The configs of the chains.
        shape: (C, H, W) of an image.

    Returns:
        The reason for each chain that cannot run.
    """
    with Draw(0, "dry").as_global():
        model: Any = config.build(shape)
    obstacles = {}
    for chain in chains:
        try:
            _start_chains(model, config.latent_dim, chain, shape)
        except ValueError as error:
            obstacles[chain] = str(error)
    return obstacles


def _raise_first(obstacles: Mapping[ChainConfig, str]) -> None:
    for reason in obstacles.values():
        raise ValueError(reason)


def _start_chains(model: Any, latent_dim: int, chain: ChainConfig, shape: Shape) -> None:
    """Start two chains. Raises ValueError if the sampler needs what the model does not have."""
    can_encode = has_encoder(model)
    target = model if can_encode else DecoderAlone(model)
    if chain.fitted_prior is not None:  # a fitted prior has a density, and so has this one
        if not can_encode:
            raise ValueError(f"{NO_ENCODER}: a prior is fitted to codes")
        target = ModelWithPrior(model, IsotropicNormal(latent_dim))
    images = chain.sampler.starts_from == "images"
    start = torch.zeros(2, *shape) if images else 2
    with sampling_mode(model, "running"):
        first = chain.sampler.init(target, start, Draw(0))
        if not can_encode:
            chain.sampler.step(target, first, Draw(0))


def _check_labels(experiment: Experiment, splits: Splits) -> None:
    """Raise ValueError if the model needs labels that the data does not have."""
    classes, training = experiment.model.num_classes, experiment.training
    if classes == 0 or training is None:
        return
    family, labels = experiment.model.family, splits.train.labels
    in_data = int(labels.max()) + 1 if labels.ndim == 1 else 0
    require(
        labels.ndim == 1 and in_data > 1,
        f"{family} needs a class for each image, and {experiment.data.name} has none",
        attributes=0 if labels.ndim == 1 else labels.shape[1],
    )
    require(
        in_data == classes,
        f"{family}: its classes must be the {in_data} classes of {experiment.data.name}",
        num_classes=classes,
    )
    used = len(labels[: training.max_images])
    require(
        training.num_labelled is None or training.num_labelled <= used,
        f"num_labelled must be at most the {used} training images; take a smaller num_labelled, "
        "or None for all labels",
        num_labelled=training.num_labelled,
    )
    labelled = labels[: training.max_images][: training.num_labelled]
    require(
        len(np.unique(labelled)) == classes,
        f"{family} needs a labelled image of each of the {classes} classes; take a larger "
        "num_labelled",
        num_labelled=training.num_labelled,
        classes_among_them=len(np.unique(labelled)),
    )


def warnings_of(experiment: Experiment) -> list[str]:
    """Warnings about the figures of a resolved experiment."""
    width = experiment.classifier.feature_width or 0
    fewest = min(chain.num_chains or 0 for chain in experiment.chains) // 2
    return [text for text in (few_images_warning(fewest, width),) if text]
