"""MMD GAN: its two losses, and the gradient penalty of the witness function."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genae_core.distributions.rng import Draw
from genae_core.divergences.mmd import MMD
from genae_core.models.base import Batch
from genae_core.models.image_generator import generate_images
from genae_core.models.mmd_gan import MMDGAN, MMDGANConfig, critic_loss, generator_loss
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.testing.model import ModelContract

NET = MLPConfig(widths=(32,))
CRITIC = MLPConfig(widths=(16,), activation="leaky_relu", batch_norm=False)
# A kernel of differences of features does not see what is added to all of them.
LAST_BIAS = "critic.1.2.bias"


class TestMMDGAN(ModelContract):
    without_gradient = (LAST_BIAS,)
    config = MMDGANConfig(latent_dim=3, net=NET, critic=CRITIC, features=4, critic_steps=2)


class TestGaussianKernelWithoutPenalty(ModelContract):
    without_gradient = (LAST_BIAS,)
    config = MMDGANConfig(
        latent_dim=3,
        net=NET,
        critic=CRITIC,
        divergence=MMD(kernel="rbf", estimator="biased"),
        penalty=0.0,
        critic_steps=1,
        average=0.9,
    )


@pytest.mark.slow
class TestConvolutional(ModelContract):
    shape = (3, 32, 32)
    without_gradient = ("critic.6.bias",)
    config = MMDGANConfig(
        latent_dim=4,
        net=DCGANConfig(width=4),
        critic=DCGANConfig(width=4, activation="leaky_relu", batch_norm=False),
        critic_steps=1,
    )


def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mixture of rational quadratic kernels, by another derivation, [N, M]."""
    squared = ((a[:, None] - b[None]) ** 2).sum(-1)
    return sum(  # type: ignore[no-any-return]
        np.exp(-alpha * np.log1p(squared / (2 * alpha))) for alpha in (0.2, 0.5, 1, 2, 5)
    )


def unbiased_mmd(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    count = len(a)
    pairs = count * (count - 1)
    within = [(k.sum() - np.trace(k)) / pairs for k in (kernel(a, a), kernel(b, b))]
    return float(sum(within) - 2 * kernel(a, b).mean())


def model_and_batch(penalty: float) -> tuple[MMDGAN, Batch]:
    config = MMDGANConfig(latent_dim=3, net=NET, critic=CRITIC, features=4, penalty=penalty)
    with Draw(0).as_global():
        model = config.build((1, 3, 3)).double()
    x = Draw(1).uniform((6, 1, 3, 3)).double()
    # Priors draw in single precision.
    model.prior.sample = lambda draw, shape: draw.normal((*shape, 3)).double()  # type: ignore
    return model, Batch(x, torch.full((6,), -1))


def features(model: MMDGAN, x: Any) -> NDArray[np.float64]:
    with torch.no_grad():
        return model.critic(torch.as_tensor(x)).numpy()  # type: ignore[no-any-return]


def test_the_generator_minimises_what_the_critic_maximises() -> None:
    model, batch = model_and_batch(penalty=0.0)
    images = generate_images(model, batch, Draw(2)).detach()
    wanted = unbiased_mmd(features(model, batch.x), features(model, images))
    assert float(generator_loss(model, batch, Draw(2))[0].detach()) == pytest.approx(wanted)
    assert float(critic_loss(model, batch, Draw(2))[0].detach()) == pytest.approx(-wanted)


def test_the_penalty_is_of_the_gradient_of_the_witness() -> None:
    """The gradients at the interpolated images are finite differences here."""
    model, batch = model_and_batch(penalty=3.0)
    draw = Draw(2)
    images = generate_images(model, batch, draw).detach()
    weight = draw.uniform((6, 1, 1, 1)).double()
    points = (weight * batch.x + (1 - weight) * images).numpy()
    real, generated = features(model, batch.x), features(model, images)

    def witness(x: NDArray[np.float64]) -> NDArray[np.float64]:
        at = features(model, x)
        return kernel(at, real).mean(1) - kernel(at, generated).mean(1)  # type: ignore

    gradient = np.zeros((6, 9))
    for pixel in range(9):
        step = np.zeros((1, 1, 3, 3))
        step.reshape(-1)[pixel] = 1e-6
        gradient[:, pixel] = (witness(points + step) - witness(points - step)) / 2e-6
    wanted = np.mean((np.linalg.norm(gradient, axis=1) - 1) ** 2)
    loss, terms = critic_loss(model, batch, Draw(2))
    assert float(terms["gradient_penalty"].detach()) == pytest.approx(wanted, rel=1e-5)
    total = 3 * wanted - unbiased_mmd(real, generated)
    assert float(loss.detach()) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"penalty": -1.0}, "penalty.*got penalty=-1.0"),
        ({"penalty": math.inf}, "penalty"),
        ({"features": 0}, "features must be a whole number >= 1, got features=0"),
        ({"critic_steps": 0}, "critic_steps must be a whole number >= 1, got critic_steps=0"),
        (
            {"divergence": MMD(kernel="rbf", estimator="biased", root=True)},
            "divergence.root must be False, got root=True",
        ),
        ({"critic": MLPConfig()}, "no batch normalisation.*critic.batch_norm to False"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MMDGANConfig(latent_dim=3, **settings)


def test_without_a_penalty_the_critic_may_be_normalised() -> None:
    assert MMDGANConfig(latent_dim=3, critic=MLPConfig(), penalty=0.0).family == "MMD GAN"
