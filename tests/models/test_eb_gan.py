"""EBGAN: its energy, its two losses and the pull-away term."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.models.autoencoding_critic import Reconstruction
from genae_core.models.base import Batch
from genae_core.models.eb_gan import (
    EBGAN,
    EBGANConfig,
    critic_loss,
    energy,
    generator_loss,
    pull_away_term,
)
from genae_core.models.image_generator import generate_images
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.testing.model import ModelContract

NET = MLPConfig(widths=(32,))
CRITIC = MLPConfig(widths=(16,), activation="leaky_relu", batch_norm=False)


class TestEBGANWithPullAway(ModelContract):
    config = EBGANConfig(latent_dim=3, net=NET, critic=CRITIC, code_dim=4, average=0.9)


class TestEBGAN(ModelContract):
    config = EBGANConfig(latent_dim=3, net=NET, critic=CRITIC, code_dim=4, pull_away=0.0)


@pytest.mark.slow
class TestConvolutional(ModelContract):
    shape = (3, 32, 32)
    config = EBGANConfig(
        latent_dim=4,
        net=DCGANConfig(width=4),
        critic=DCGANConfig(width=4, activation="leaky_relu"),
        code_dim=4,
    )


def test_the_energy_is_the_error_of_a_pixel() -> None:
    """An error of 0.3 in a quarter of the pixels has the root mean square 0.3 / 2."""
    x = Draw(0).uniform((5, 2, 4, 4))
    reconstruction = x.clone()
    reconstruction[:, :, :2, :2] += 0.3
    torch.testing.assert_close(energy(x, reconstruction), torch.full((5,), 0.15))


def test_the_gradient_of_the_energy_of_a_perfect_reconstruction_is_finite() -> None:
    x = Draw(0).uniform((5, 2, 4, 4)).requires_grad_()
    energy(x, x.detach().clone()).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and x.grad.isfinite().all()


def test_the_pull_away_term_is_the_mean_squared_cosine() -> None:
    angles = [0.2, 1.1, 2.9]
    lengths = [1.0, 3.0, 0.1]
    codes = torch.tensor(
        [[r * math.cos(a), r * math.sin(a)] for a, r in zip(angles, lengths, strict=True)]
    )
    pairs = [(0.2, 1.1), (0.2, 2.9), (1.1, 2.9)]
    wanted = sum(math.cos(a - b) ** 2 for a, b in pairs) / 3
    assert float(pull_away_term(codes)) == pytest.approx(wanted, rel=1e-5)
    assert float(pull_away_term(torch.eye(4))) == 0
    assert float(pull_away_term(torch.ones(4, 3))) == pytest.approx(1, rel=1e-6)


def model_and_batch(**settings: Any) -> tuple[EBGAN, Batch]:
    config = EBGANConfig(latent_dim=3, net=NET, critic=CRITIC, code_dim=4, **settings)
    with Draw(0).as_global():
        model = config.build((1, 4, 4))
    x = Draw(1).uniform((6, 1, 4, 4))
    return model, Batch(x, torch.full((6,), -1))


def by_numpy(model: EBGAN, x: Tensor) -> tuple[Any, Any]:
    """The codes and the energies of images, by another derivation."""
    with torch.no_grad():
        codes = model.critic.encoder(x)
        logits = model.critic.decoder(codes).flatten(1).double().numpy()
    difference = 1 / (1 + np.exp(-logits)) - x.flatten(1).double().numpy()
    return codes.double().numpy(), np.linalg.norm(difference, axis=1) / math.sqrt(16)


@pytest.mark.parametrize("margin", [0.05, 0.3, 2.0])
def test_the_losses_are_their_formulas(margin: float) -> None:
    model, batch = model_and_batch(margin=margin, pull_away=0.25)
    images = generate_images(model, batch, Draw(2)).detach()
    _, real = by_numpy(model, batch.x)
    codes, generated = by_numpy(model, images)
    loss, _ = critic_loss(model, batch, Draw(2))
    wanted = real.mean() + np.maximum(0, margin - generated).mean()
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)
    cosines = [
        codes[i] @ codes[j] / np.linalg.norm(codes[i]) / np.linalg.norm(codes[j])
        for i in range(6)
        for j in range(6)
        if i != j
    ]
    loss, terms = generator_loss(model, batch, Draw(2))
    assert float(terms["pull_away"].detach()) == pytest.approx(np.square(cosines).mean(), rel=1e-5)
    wanted = generated.mean() + 0.25 * np.square(cosines).mean()
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)


def test_above_the_margin_generated_images_do_not_move_the_critic() -> None:
    """With an energy of 0.2 everywhere, the hinge is 0.3 - 0.2 or, with a margin of 0.1, 0."""
    for margin, wanted in ((0.3, 0.2 + 0.1), (0.1, 0.2)):
        model, batch = model_and_batch(margin=margin)
        model.critic.forward = lambda x: Reconstruction(x.flatten(1), x + 0.2)  # type: ignore
        loss, _ = critic_loss(model, batch, Draw(2))
        assert float(loss) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": 0.0}, "margin must be > 0, got margin=0.0"),
        ({"margin": math.inf}, "margin"),
        ({"pull_away": -0.1}, "pull_away.*got pull_away=-0.1"),
        ({"pull_away": math.nan}, "pull_away"),
        ({"code_dim": 0}, "code_dim must be a whole number >= 1, got code_dim=0"),
        ({"average": 1.0}, "average must be in"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EBGANConfig(latent_dim=3, **settings)
