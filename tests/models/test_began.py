"""BEGAN: its losses, its measure of convergence, and the balance that lives in the model."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.models.base import Batch
from genae_core.models.began import BEGAN, Balance, BEGANConfig, critic_loss, generator_loss
from genae_core.models.image_generator import generate_images
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.testing.model import ModelContract

NET = MLPConfig(widths=(32,))
CRITIC = MLPConfig(widths=(16,), activation="leaky_relu", batch_norm=False)


class TestBEGAN(ModelContract):
    config = BEGANConfig(latent_dim=3, net=NET, critic=CRITIC, code_dim=4, lambda_k=0.1)


class TestAveraged(ModelContract):
    config = BEGANConfig(latent_dim=3, net=NET, critic=CRITIC, code_dim=4, average=0.9)


@pytest.mark.slow
class TestConvolutional(ModelContract):
    shape = (3, 32, 32)
    config = BEGANConfig(
        latent_dim=4,
        net=DCGANConfig(width=4),
        critic=DCGANConfig(width=4, activation="leaky_relu"),
        code_dim=4,
    )


def model_and_batch() -> tuple[BEGAN, Batch]:
    config = BEGANConfig(latent_dim=3, net=NET, critic=CRITIC, code_dim=4, gamma=0.7, lambda_k=0.5)
    with Draw(0).as_global():
        model = config.build((1, 4, 4))
    x = Draw(1).uniform((6, 1, 4, 4))
    return model, Batch(x, torch.full((6,), -1))


def error(model: BEGAN, x: Tensor) -> float:
    """L(x), by another derivation."""
    with torch.no_grad():
        logits = model.critic.decoder(model.critic.encoder(x)).double().numpy()
    return float(np.mean(np.abs(x.double().numpy() - 1 / (1 + np.exp(-logits)))))


def test_a_step_is_its_formulas() -> None:
    model, batch = model_and_batch()
    model.balance.k.fill_(0.25)
    images = generate_images(model, batch, Draw(2)).detach()
    others = generate_images(model, batch, Draw(3)).detach()
    real, generated = error(model, batch.x), error(model, images)
    loss, terms = critic_loss(model, batch, Draw(2))
    assert float(loss.detach()) == pytest.approx(real - 0.25 * generated, rel=1e-5)
    assert float(terms["k"]) == 0.25
    loss, terms = generator_loss(model, batch, Draw(3))
    generated = error(model, others)
    assert float(loss.detach()) == pytest.approx(generated, rel=1e-5)
    measure = real + abs(0.7 * real - generated)
    assert float(terms["convergence"]) == pytest.approx(measure, rel=1e-5)
    project = model.stages()[0].phases[1].project
    assert project is not None and model.stages()[0].phases[0].project is None
    project(model)
    assert float(model.balance.k) == pytest.approx(0.25 + 0.5 * (0.7 * real - generated), rel=1e-5)


def test_k_is_clipped_to_its_range() -> None:
    """From 0: 0 + 2 (0.5 * 0.8 - 0.1) = 0.6, then 1.2 -> 1, then 1 + 2 (0 - 0.7) -> 0."""
    balance = Balance(gamma=0.5, lambda_k=2.0)
    values = []
    for real, generated in ((0.8, 0.1), (0.8, 0.1), (0.0, 0.7)):
        balance.real_error.fill_(real)
        balance.generated_error.fill_(generated)
        balance.update()
        values.append(float(balance.k))
    assert values == pytest.approx([0.6, 1.0, 0.0])


def test_checkpoints_have_the_balance() -> None:
    model, _ = model_and_batch()
    assert "balance.k" in model.state_dict()


def test_averages_and_the_balance_are_updated_in_one_step() -> None:
    with Draw(0).as_global():
        model = TestAveraged.config.build((1, 4, 4))
    assert isinstance(model, BEGAN) and model.average is not None
    before = [average.clone() for average in model.average.buffers()]
    model.balance.real_error.fill_(1.0)
    with torch.no_grad():
        for weight in model.generator.parameters():
            weight.add_(1.0)
    project = model.stages()[0].phases[1].project
    assert project is not None
    project(model)
    assert float(model.balance.k) == pytest.approx(0.2 * 0.9)
    for average, former in zip(model.average.buffers(), before, strict=True):
        torch.testing.assert_close(average, former + 0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": 0.0}, r"gamma must be in \(0, 1\], got gamma=0.0"),
        ({"gamma": 1.1}, r"gamma must be in \(0, 1\], got gamma=1.1"),
        ({"gamma": math.nan}, "gamma"),
        ({"lambda_k": 0.0}, "lambda_k must be > 0, got lambda_k=0.0"),
        ({"lambda_k": math.inf}, "lambda_k"),
        ({"code_dim": 0}, "code_dim must be a whole number >= 1, got code_dim=0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BEGANConfig(latent_dim=3, **settings)
