import pytest
import torch
from contracts.model import ModelContract
from contracts.toys import images
from torch.nn import functional as F

from genae_core.draw import Draw
from genae_core.models.aae import (
    AAE,
    AAEConfig,
    critic_loss,
    encoder_loss,
)
from genae_core.models.ae import reconstruction_loss
from genae_core.models.base import AdamConfig, Batch
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig

NET, CRITIC = MLPConfig(widths=(32,)), CriticConfig(widths=(16, 16))


class TestAAE(ModelContract):
    config = AAEConfig(latent_dim=3, net=NET, critic=CRITIC)


class TestDAAE(ModelContract):
    noise = 0.5
    config = AAEConfig(latent_dim=3, net=NET, critic=CRITIC, noise=noise)


class TestAAEConvolutional(ModelContract):
    shape = (3, 32, 32)
    config = AAEConfig(
        latent_dim=4,
        net=DCGANConfig(width=4),
        critic=CRITIC,
        optimizer=AdamConfig(learning_rate=1e-2),
    )


def _batch(count: int = 6) -> Batch:
    return Batch(images(count, (1, 8, 8)), torch.arange(count) % 4)


def _model(noise: float = 0.0) -> AAE:
    with Draw(1).as_global():
        return AAEConfig(latent_dim=3, net=NET, critic=CRITIC, noise=noise).build((1, 8, 8))


def test_the_family_is_named_by_the_noise() -> None:
    assert AAEConfig(latent_dim=2).family == "AAE"
    assert AAEConfig(latent_dim=2, noise=0.1).family == "DAAE"


def test_the_encoder_is_deterministic_and_has_no_density() -> None:
    model = _model().eval()
    law = model.encode(images(4, (1, 8, 8)))
    assert torch.equal(law.sample(Draw(0)), law.mean)
    assert torch.equal(law.sample(Draw(0)), law.sample(Draw(1)))
    with pytest.raises(TypeError, match="log_prob"):
        law.log_prob(law.mean)


def test_dropout_of_the_critic_acts_in_training_alone() -> None:
    critic, z = _model().critic, Draw(0).normal((5, 3))
    critic.train()
    assert not torch.equal(critic(z, Draw(0)), critic(z, Draw(1)))
    assert torch.equal(critic(z, Draw(0)), critic(z, Draw(0)))
    critic.eval()
    assert torch.equal(critic(z, Draw(0)), critic(z, Draw(1)))
    draw = Draw(0)
    state = draw.generator.get_state()
    critic(z, draw)
    assert torch.equal(draw.generator.get_state(), state)


def test_the_phases_are_reconstruction_then_critic_then_encoder() -> None:
    (stage,) = _model().stages()
    assert [phase.loss for phase in stage.phases] == [
        reconstruction_loss,
        critic_loss,
        encoder_loss,
    ]
    assert [phase.player.name for phase in stage.phases] == ["autoencoder", "critic", "encoder"]


def test_the_losses_are_their_formulas() -> None:
    model, x = _model().eval(), images(6, (1, 8, 8))
    with torch.no_grad():
        z = model.encoder(x)
        p = torch.sigmoid(model.decoder(z).double())
        nats = -(x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2, 3)).mean()
        on_prior = torch.sigmoid(model.critic(Draw(3).normal((6, 3)), Draw(0)).double())
        on_codes = torch.sigmoid(model.critic(z, Draw(0)).double())
        critic = -on_prior.log().mean() - (1 - on_codes).log().mean()
        encoder = -on_codes.log().mean()
        found = [
            loss(model, _batch(), Draw(3))[0].double()
            for loss in (reconstruction_loss, critic_loss, encoder_loss)
        ]
    # float32 sums of 64 pixels of order 1: relative error below 64 * 6e-8 = 4e-6.
    torch.testing.assert_close(
        torch.stack(found), torch.stack([nats, critic, encoder]), rtol=1e-5, atol=0
    )


def test_the_critic_loss_gives_the_encoder_no_gradient() -> None:
    model = _model()
    critic_loss(model, _batch(), Draw(0))[0].backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.critic.parameters())


def test_the_encoder_step_raises_the_critics_belief() -> None:
    """A gradient step on the encoder's loss makes the codes look more like the prior."""
    model, x = _model().eval(), images(6, (1, 8, 8))
    before = F.logsigmoid(model.critic(model.encode(x).mean, Draw(0))).mean()
    parameters = list(model.encoder.parameters())
    loss, _ = encoder_loss(model, _batch(), Draw(0))
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= 1e-3 * gradient
    assert F.logsigmoid(model.critic(model.encode(x).mean, Draw(0))).mean() > before
