"""GAN, f-GAN, LSGAN, WGAN, WGAN-GP and GMMN."""

from genae_core.divergences.f_divergence import FDivergence
from genae_core.divergences.least_squares import LeastSquares
from genae_core.divergences.mmd import MMD
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.models.gan import GANConfig
from genae_core.models.optimizers import RMSPropConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.uniform import UniformPriorConfig
from genae_core.testing.model import ModelContract

NET = MLPConfig(widths=(32,))
CRITIC = MLPConfig(widths=(16,), activation="leaky_relu", batch_norm=False)


class TestGAN(ModelContract):
    config = GANConfig(latent_dim=3, net=NET, critic=CRITIC)


class TestSaturatingGAN(ModelContract):
    config = GANConfig(
        latent_dim=3, net=NET, critic=CRITIC, divergence=FDivergence(saturating=True), average=0.9
    )


class TestLSGAN(ModelContract):
    config = GANConfig(latent_dim=3, net=NET, critic=CRITIC, divergence=LeastSquares())


class TestWGAN(ModelContract):
    without_gradient = ("critic.net.1.2.bias",)
    config = GANConfig(
        latent_dim=3,
        net=NET,
        critic=CRITIC,
        divergence=Wasserstein(constraint="clip", critic_steps=2),
        optimizer=RMSPropConfig(learning_rate=1e-3),
    )


class TestWGANGP(ModelContract):
    without_gradient = ("critic.net.1.2.bias",)
    config = GANConfig(
        latent_dim=3, net=NET, critic=CRITIC, divergence=Wasserstein(critic_steps=2)
    )


class TestGMMN(ModelContract):
    config = GANConfig(
        latent_dim=3,
        net=NET,
        divergence=MMD(kernel="rbf", estimator="biased", root=True),
        prior=UniformPriorConfig(),
    )


class TestConvolutional(ModelContract):
    shape = (3, 32, 32)
    without_gradient = ("critic.net.6.bias",)
    config = GANConfig(
        latent_dim=4,
        net=DCGANConfig(width=4),
        critic=DCGANConfig(width=4, activation="leaky_relu", batch_norm=False),
        divergence=Wasserstein(critic_steps=1),
    )
