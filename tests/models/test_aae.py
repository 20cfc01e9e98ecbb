import pytest
import torch
from torch.nn import functional as F

from genae_core.distributions.rng import Draw
from genae_core.divergences.f_divergence import FDivergence
from genae_core.divergences.least_squares import LeastSquares
from genae_core.divergences.mmd import MMD
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.models.aae import AAE, AAEConfig, sample_labelled_prior
from genae_core.models.ae import reconstruction_loss
from genae_core.models.base import Batch
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.priors.flow import FlowPriorConfig
from genae_core.priors.mixture import RingPriorConfig
from genae_core.priors.swiss_roll import SwissRollPriorConfig
from genae_core.testing.model import ModelContract
from genae_core.testing.toys import images

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
    distribution = model.encode(images(4, (1, 8, 8)))
    assert torch.equal(distribution.sample(Draw(0)), distribution.mean)
    assert torch.equal(distribution.sample(Draw(0)), distribution.sample(Draw(1)))
    with pytest.raises(TypeError, match="log_prob"):
        distribution.log_prob(distribution.mean)


def test_dropout_of_the_critic_acts_in_training_mode_only() -> None:
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
    assert [phase.loss.__name__ for phase in stage.phases] == [
        "reconstruction_loss",
        "critic_loss",
        "codes_loss",
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
        losses = [
            loss(model, _batch(), Draw(3))[0].double()
            for loss in (
                reconstruction_loss,
                model.matching().critic_loss,
                model.matching().codes_loss,
            )
        ]
    # float32 sums of 64 pixels of order 1: relative error below 64 * 6e-8 = 4e-6.
    torch.testing.assert_close(
        torch.stack(losses), torch.stack([nats, critic, encoder]), rtol=1e-5, atol=0
    )


def test_the_critic_loss_gives_the_encoder_no_gradient() -> None:
    model = _model()
    model.matching().critic_loss(model, _batch(), Draw(0))[0].backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.critic.parameters())


def test_the_encoder_step_raises_the_critics_belief() -> None:
    """A gradient step on the encoder's loss makes the codes look more like the prior."""
    model, x = _model().eval(), images(6, (1, 8, 8))
    before = F.logsigmoid(model.critic(model.encode(x).mean, Draw(0))).mean()
    parameters = list(model.encoder.parameters())
    loss, _ = model.matching().codes_loss(model, _batch(), Draw(0))
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= 1e-3 * gradient
    assert F.logsigmoid(model.critic(model.encode(x).mean, Draw(0))).mean() > before


class TestGaussianPosterior(ModelContract):
    config = AAEConfig(latent_dim=3, net=NET, critic=CRITIC, posterior="gaussian")


class TestUniversalPosterior(ModelContract):
    config = AAEConfig(latent_dim=3, net=NET, critic=CRITIC, posterior="universal")


class TestUniversalConvolutional(ModelContract):
    shape = (3, 32, 32)
    config = AAEConfig(
        latent_dim=4,
        net=DCGANConfig(width=4),
        critic=CRITIC,
        posterior="universal",
        optimizer=AdamConfig(learning_rate=1e-2),
    )


class TestLabelledAAE(ModelContract):
    config = AAEConfig(
        latent_dim=2, net=NET, critic=CRITIC, num_classes=4, prior=RingPriorConfig(components=4)
    )


class TestSwissRollAAE(ModelContract):
    noise = 0.2
    config = AAEConfig(
        latent_dim=2, noise=0.2, net=NET, critic=CRITIC, prior=SwissRollPriorConfig()
    )


class TestLeastSquaresAAE(ModelContract):
    config = AAEConfig(latent_dim=3, net=NET, critic=CRITIC, divergence=LeastSquares())


class TestWassersteinAAE(ModelContract):
    without_gradient = ("critic.top.bias",)
    config = AAEConfig(
        latent_dim=3, net=NET, critic=CRITIC, divergence=Wasserstein(constraint="clip")
    )


class TestMMDAAE(ModelContract):
    config = AAEConfig(latent_dim=3, net=NET, divergence=MMD())


class TestHellingerAAE(ModelContract):
    config = AAEConfig(
        latent_dim=3, net=NET, critic=CRITIC, divergence=FDivergence(kind="squared_hellinger")
    )


def test_the_universal_posterior_spreads_by_its_noise() -> None:
    config = AAEConfig(latent_dim=3, net=NET, critic=CRITIC, posterior="universal")
    with Draw(0).as_global():
        model = config.build((1, 8, 8)).eval()
    x = images(4, (1, 8, 8))
    distribution = model.encode(x)
    one, other = distribution.sample(Draw(0)), distribution.sample(Draw(1))
    assert not torch.equal(one, other) and torch.equal(one, distribution.sample(Draw(0)))
    eta = Draw(0).normal((4, 1, 8, 8))
    torch.testing.assert_close(one, model.encoder(torch.cat([x, eta], 1)))
    torch.testing.assert_close(distribution.mean, model.encoder(torch.cat([x, 0 * eta], 1)))
    each = distribution.sample(Draw(2), (3,))
    etas = Draw(2).normal((3, 4, 1, 8, 8))
    for row in range(3):
        torch.testing.assert_close(each[row], model.encoder(torch.cat([x, etas[row]], 1)))
    with pytest.raises(TypeError, match="log_prob"):
        distribution.log_prob(one)


def test_labels_choose_the_part_of_the_prior_and_the_critics_switch() -> None:
    """A known class gets its own component and switch, an unknown one the whole prior."""
    config = AAEConfig(
        latent_dim=2, net=NET, critic=CRITIC, num_classes=4, prior=RingPriorConfig(components=4)
    )
    with Draw(0).as_global():
        model = config.build((1, 8, 8)).eval()
    labels = torch.tensor([0, 1, 2, 3, -1]).repeat(400)
    batch = Batch(images(2_000, (1, 8, 8)), labels)
    target = sample_labelled_prior(model, batch, Draw(1))
    part = model.prior.responsibilities(target).argmax(1)
    known = labels >= 0
    assert (part[known] == labels[known]).float().mean() > 0.99
    counts = torch.bincount(part[~known], minlength=4)
    assert (counts > 60).all()  # of 400, evenly
    scores = model.matching().score(model, batch, Draw(2))(target)
    switch = F.one_hot(torch.where(known, labels, 4), 5).float()
    wanted = model.critic(torch.cat([target, switch], 1), Draw(2))
    torch.testing.assert_close(scores, wanted)


def test_unfit_labels_and_priors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a prior with a part for each class.*parts=0"):
        AAEConfig(latent_dim=2, num_classes=10).build((1, 8, 8))
    with pytest.raises(ValueError, match=r"part for each class.*num_classes=9.*parts=10"):
        AAEConfig(latent_dim=2, num_classes=9, prior=RingPriorConfig()).build((1, 8, 8))
    with pytest.raises(ValueError, match="num_classes must be 0, for no labels, or at least 2"):
        AAEConfig(latent_dim=2, num_classes=1)
    with pytest.raises(ValueError, match="num_classes needs a divergence with a critic"):
        AAEConfig(latent_dim=2, num_classes=10, divergence=MMD())
    with pytest.raises(ValueError, match="posterior must be one of"):
        AAEConfig(latent_dim=2, posterior="flow")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="choose another prior, or a VAE, which trains its prior"):
        AAEConfig(latent_dim=2, prior=FlowPriorConfig()).build((1, 8, 8))
    with pytest.raises(ValueError, match="a swiss roll needs latent_dim 2, got latent_dim=3"):
        AAEConfig(latent_dim=3, prior=SwissRollPriorConfig()).build((1, 8, 8))
