import math

import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.divergences.f_divergence import FDivergence
from genae_core.divergences.mmd import MMD
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.models.base import Batch
from genae_core.models.optimizers import AdamConfig
from genae_core.models.wae import WAEConfig, penalised_cost
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.priors.uniform import UniformPriorConfig
from genae_core.testing.model import ModelContract
from genae_core.testing.toys import images

NET, CRITIC = MLPConfig(widths=(32,)), CriticConfig(widths=(16,))


class TestWAEMMD(ModelContract):
    config = WAEConfig(latent_dim=3, net=NET, weight=10.0)


class TestWAEMMDGaussianKernel(ModelContract):
    config = WAEConfig(latent_dim=3, net=NET, divergence=MMD(kernel="rbf"), weight=10.0)


class TestWAEGAN(ModelContract):
    config = WAEConfig(latent_dim=3, net=NET, critic=CRITIC, divergence=FDivergence(), weight=1.0)


class TestWAEWasserstein(ModelContract):
    noise = 0.3
    without_gradient = ("critic.top.bias",)
    config = WAEConfig(
        latent_dim=3,
        noise=noise,
        net=NET,
        critic=CRITIC,
        divergence=Wasserstein(critic_steps=2),
        prior=UniformPriorConfig(),
        weight=1.0,
    )


class TestWAEConvolutional(ModelContract):
    shape = (3, 32, 32)
    config = WAEConfig(
        latent_dim=4,
        net=DCGANConfig(width=4),
        weight=10.0,
        optimizer=AdamConfig(learning_rate=1e-2),
    )


def test_the_family_is_named_by_the_divergence() -> None:
    assert WAEConfig(latent_dim=2).family == "WAE-MMD"
    assert WAEConfig(latent_dim=2, divergence=FDivergence()).family == "WAE-GAN"


def test_the_loss_is_its_formula() -> None:
    """It is the squared error summed over pixels, plus lambda times the MMD of codes and prior."""
    config = WAEConfig(latent_dim=3, net=NET, weight=7.0)
    with Draw(1).as_global():
        model = config.build((1, 8, 8)).eval()
    x = images(6, (1, 8, 8))
    with torch.no_grad():
        z = model.encoder(x)
        error = (torch.sigmoid(model.decoder(z)) - x).square().sum((1, 2, 3)).mean()
        mmd = MMD().between(Draw(3).normal((6, 3)), z)
        loss, terms = penalised_cost(model, Batch(x, torch.full((6,), -1)), Draw(3))
    # -log N(x; d(z), 1/2 I) is the squared error and 64/2 log pi.
    cost = float(error) + 32 * math.log(math.pi)
    assert float(terms["reconstruction"]) == pytest.approx(cost, rel=1e-5)
    assert float(terms["divergence"]) == pytest.approx(float(mmd), rel=1e-4)
    assert float(loss) == pytest.approx(cost + 7 * float(mmd), rel=1e-5)
