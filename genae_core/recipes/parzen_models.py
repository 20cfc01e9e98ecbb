"""The models whose Parzen windows paper_tables.py measures on MNIST with real-valued pixels."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from genae_core.divergences.mmd import MMD
from genae_core.models.aae import AAEConfig
from genae_core.models.config import ModelConfig
from genae_core.models.gan import GANConfig
from genae_core.models.gmmn_ae import GMMNAEConfig, autoencoder_with_dropout
from genae_core.models.likelihoods import GaussianPixels
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.mlp import CriticConfig, GeneratorConfig, MLPConfig
from genae_core.priors.normal import NormalPriorConfig
from genae_core.priors.uniform import UniformPriorConfig

# The layers of the generator in the authors' code of Li et al. 2015 (yujiali/gmmn, train.py).
GMMN_WIDTHS = (64, 256, 256, 1024)


class ParzenModel(NamedTuple):
    """A model and its training."""

    model: ModelConfig
    epochs: int
    batch_size: int


def _aae() -> ParzenModel:
    """The model of Makhzani et al. 2016, section 4.

    The paper states no number of epochs, no batch size and no learning rates. They were searched
    on the held-out training images, with 10,000 samples. After 3, 6, 9 and 12 epochs, Adam at 1e-3
    and for the adversary 2e-4 reached 287, 299, 303 and 303 nats. With 4e-4 for the adversary and
    both rates falling to 0, they were 290, 304, 315 and 317.
    """
    model = AAEConfig(
        latent_dim=8,
        prior=NormalPriorConfig(sd=5.0),
        net=MLPConfig(widths=(1000, 1000), activation="relu", batch_norm=False),
        critic=CriticConfig(widths=(1000, 1000), dropout=0.0, slope=0.0),
        likelihood=GaussianPixels(sd=0.7071),
        optimizer=AdamConfig(learning_rate=1e-3),
        adversarial_optimizer=AdamConfig(learning_rate=4e-4, beta1=0.5),
    )
    return ParzenModel(model, epochs=12, batch_size=100)


def _gan() -> ParzenModel:
    """A GAN with uniform noise in 100 dimensions (Goodfellow et al. 2014, section 5).

    The paper states neither widths nor rates for MNIST. On the held-out training images, with
    10,000 samples, two layers of 1,200 units without an average of the weights had 73 nats after 6
    epochs. With 512 units and the average they had 100, 155, 164, 170 and 172 after 4, 8, 12, 16
    and 20.
    """
    model = GANConfig(
        latent_dim=100,
        prior=UniformPriorConfig(half_width=1.0),
        net=MLPConfig(widths=(512, 512), activation="relu"),
        critic=MLPConfig(
            widths=(512, 512), activation="leaky_relu", batch_norm=False, dropout=0.3
        ),
        optimizer=AdamConfig(learning_rate=1e-3, beta1=0.5),
        average=0.999,
    )
    return ParzenModel(model, epochs=20, batch_size=100)


def _gmmn() -> ParzenModel:
    """The GMMN of Li et al. 2015 as their code has it, with noise in 10 dimensions.

    Their training makes 40,000 steps of 1,000 images, which is 800 epochs. A batch has 250 images
    here, which gives four times as many steps in the same time: after 10 epochs with 1,000 images
    the held-out training images had -88 nats with 10,000 samples, and 5 with 250; after 15, 20 and
    25 epochs they had 35, 38 and 43.
    """
    model = GANConfig(
        latent_dim=10,
        prior=UniformPriorConfig(half_width=1.0),
        net=MLPConfig(widths=GMMN_WIDTHS, activation="relu", batch_norm=False),
        divergence=MMD(kernel="rbf", scales=_scales(784), estimator="biased", root=True),
        optimizer=AdamConfig(learning_rate=1e-3),
    )
    return ParzenModel(model, epochs=30, batch_size=250)


def _scales(dimension: int) -> tuple[float, ...]:
    """The scales of an MMD whose kernels are exp(-|a - b|^2 / 2 sigma^2), for sigma = 2, 5, 10
    and 20."""
    return tuple(sigma**2 / dimension for sigma in (2.0, 5.0, 10.0, 20.0))


def _gmmn_ae() -> ParzenModel:
    """A GMMN on the codes of an autoencoder with dropout (Li et al. 2015, section 4).

    It has as many latent dimensions as the AAE above. Its settings were not searched.
    """
    autoencoder = replace(
        autoencoder_with_dropout(latent_dim=8),
        net=MLPConfig(widths=(1000, 1000), activation="relu", batch_norm=False, dropout=0.1),
        likelihood=GaussianPixels(sd=0.7071),
        optimizer=AdamConfig(learning_rate=1e-3),
    )
    model = GMMNAEConfig(
        autoencoder=autoencoder,
        divergence=MMD(
            kernel="rbf", scales=(0.1, 0.2, 0.5, 1.0, 2.0, 5.0), estimator="biased", root=True
        ),
        generator=GeneratorConfig(widths=(256, 256, 256)),
        optimizer=AdamConfig(learning_rate=1e-3),
    )
    return ParzenModel(model, epochs=12, batch_size=250)


MODELS: dict[str, Callable[[], ParzenModel]] = {
    "aae": _aae,
    "gmmn_ae": _gmmn_ae,
    "gan": _gan,
    "gmmn": _gmmn,
}
