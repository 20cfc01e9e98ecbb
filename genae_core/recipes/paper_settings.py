"""How a model, its data and its chain differ from what the papers say, for captions of figures.

What a paper does not state, such as the size of a batch, is no deviation.
"""

from collections.abc import Iterable, Iterator

from genae_core.data.base import DataConfig, Splits
from genae_core.data.celeba import CelebAConfig
from genae_core.experiment.experiment import Experiment
from genae_core.models.aae import AAEConfig
from genae_core.models.adv_ae import AdvAEConfig
from genae_core.models.config import ModelConfig
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.models.two_stage import TwoStageConfig
from genae_core.models.vae import VAEConfig
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.recipes.options import NOISE

# The images of the official training splits, on which the papers train.
OFFICIAL = {"mnist": 60_000, "celeba": 162_770, "svhn": 73_257}
CRESWELL_NET, CRESWELL_EPOCHS, CRESWELL_DIM, CRESWELL_SIDE = DCGANConfig(width=64), 20, 200, 64
RATE, BETA1 = 2e-4, 0.5
SRIDHAR_EPOCHS, SRIDHAR_DIM, SRIDHAR_FLOW = (5, 10), 10, ("realnvp", 5, 1)


def describe_deviations(deviations: Iterable[str]) -> str:
    """The deviations of the models of a picture as a line of its caption, each once."""
    unique = tuple(dict.fromkeys(deviations))
    if not unique:
        return "No deviation from what the paper states."
    return f"Deviations from the paper: {'; '.join(unique)}."


def creswell_deviations(experiment: Experiment, splits: Splits) -> Iterator[str]:
    """What differs from Creswell et al. 2017, sections 4.1 to 4.3 and appendix A.

    Args:
        experiment: The experiment of a VAE, DVAE, AAE or DAAE.
        splits: The images.

    Yields:
        Each deviation with the paper's value.
    """
    data, model, training = experiment.data, experiment.model, experiment.training
    assert isinstance(model, VAEConfig | AAEConfig) and training is not None
    yield from _images(data, ("celeba", "svhn"), experiment, splits)
    if data.shape[1] != CRESWELL_SIDE:
        yield f"{data.shape[1]} px (paper: {CRESWELL_SIDE})"
    if isinstance(data, CelebAConfig) and data.crop < 1:
        yield f"a square of {100 * data.crop:.0f} % of the width (paper: all of it)"
    yield from _dcgan(model.net, data.shape)
    if model.latent_dim != CRESWELL_DIM:
        yield f"{model.latent_dim} latent dimensions (paper: {CRESWELL_DIM})"
    if training.epochs != CRESWELL_EPOCHS:
        yield f"{_epochs(training.epochs)} (paper: {CRESWELL_EPOCHS})"
    adam = model.optimizer
    if (adam.learning_rate, adam.beta1) != (RATE, BETA1):
        yield f"Adam at {adam.learning_rate:g}, beta1 {adam.beta1:g} (paper: {RATE:g}, {BETA1:g})"
    if model.noise not in (0.0, NOISE):
        yield f"noise of {model.noise:g} (paper: {NOISE:g})"
    if isinstance(model, AAEConfig):
        if model.critic.dropout == 0:
            yield "no dropout in the adversary (paper: some)"
        if model.posterior != "deterministic":
            yield f"{model.posterior} codes of AAEs (paper: deterministic)"
    if experiment.chains[0].batch_norm != "batch":
        yield "running averages in batch normalisation (paper: moments of the batch)"


def sridhar_deviations(experiment: Experiment, splits: Splits) -> Iterator[str]:
    """What differs from Sridhar & Srivastava, sections 3 to 5.

    Args:
        experiment: The experiment of a VAE, AAE, AdvAE or FlowAE.
        splits: The images.

    Yields:
        Each deviation with the paper's value.
    """
    data, model, training = experiment.data, experiment.model, experiment.training
    assert training is not None
    yield from _images(data, ("mnist",), experiment, splits)
    if not data.binarize:
        yield "grey values (paper: binarised)"
    net = _net_of(model)
    if not isinstance(net, MLPConfig):
        yield "DCGAN (paper: two fully connected layers)"
    elif (len(net.widths), net.activation, net.batch_norm) != (2, "elu", True):
        yield "other fully connected layers (paper: two with ELU and batch normalisation)"
    if model.latent_dim != SRIDHAR_DIM:
        yield f"{model.latent_dim} latent dimensions (paper: {SRIDHAR_DIM})"
    least, most = SRIDHAR_EPOCHS
    if not least <= training.epochs <= most:
        yield f"{_epochs(training.epochs)} (paper: {least} to {most})"
    if isinstance(model, FlowAEConfig):
        flow = model.flow
        if (flow.kind, flow.transforms, len(flow.widths)) != SRIDHAR_FLOW:
            yield "another flow (paper: RealNVP with 5 layers of one hidden layer each)"
    if isinstance(model, AdvAEConfig) and len(model.generator.widths) != 2:
        yield f"hidden layers of the generator: {len(model.generator.widths)} (paper: 2)"


def makhzani_deviations(experiment: Experiment, splits: Splits) -> Iterator[str]:
    """What differs from Makhzani et al. 2016, sections 2.3, 3.1 and 3.2.

    Args:
        experiment: The experiment of a model of its figures.
        splits: The images.

    Yields:
        Each deviation with the paper's value.
    """
    data, model, training = experiment.data, experiment.model, experiment.training
    assert training is not None
    if data.name not in ("mnist", "svhn"):
        yield f"{data.name} (paper: mnist and svhn)"
    if isinstance(model, AAEConfig) and model.noise > 0:
        yield f"images are trained on with noise of {model.noise:g} (paper: none)"
    if training.num_labelled is not None:
        images = _count(experiment, splits)
        labels = min(training.num_labelled, images)
        if (images, labels) != (50_000, 10_000):
            yield f"{labels:,} of {images:,} images have labels (paper: 10,000 of 50,000)"


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _count(experiment: Experiment, splits: Splits) -> int:
    """The number of training images."""
    images = len(splits.train.images)
    most = experiment.training.max_images if experiment.training else None
    return images if most is None else min(images, most)


def _images(
    data: DataConfig, names: tuple[str, ...], experiment: Experiment, splits: Splits
) -> Iterator[str]:
    """Another dataset than the paper's, or fewer images of it."""
    count = _count(experiment, splits)
    if data.name not in names:
        yield f"{data.name}, {count:,} training images (paper: {' and '.join(names)})"
    elif count != OFFICIAL[data.name]:
        yield f"{count:,} training images (paper: {OFFICIAL[data.name]:,})"


def _dcgan(net: NetConfig, shape: Shape) -> Iterator[str]:
    """Other networks than the DCGAN of Creswell et al."""
    if not isinstance(net, DCGANConfig):
        yield "fully connected networks (paper: DCGAN)"
    elif net.width != CRESWELL_NET.width:
        paper = CRESWELL_NET.num_features((3, CRESWELL_SIDE, CRESWELL_SIDE))
        yield (
            f"DCGAN of width {net.width}, M = {net.num_features(shape):,} features "
            f"(paper: {CRESWELL_NET.width}, {paper:,})"
        )


def _net_of(model: ModelConfig) -> NetConfig:
    """The networks of a model, or of the autoencoder of its first stage."""
    config = model.autoencoder if isinstance(model, TwoStageConfig) else model
    net: NetConfig = config.net  # type: ignore[attr-defined]
    return net
