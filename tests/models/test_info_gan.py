"""InfoGAN."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.divergences.mmd import MMD
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.models.base import Batch
from genae_core.models.info_gan import (
    InfoGAN,
    InfoGANConfig,
    critic_loss,
    generate,
    generator_loss,
)
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.codes import CodesConfig
from genae_core.testing.model import ModelContract

NET = MLPConfig(widths=(32,))
BODY = MLPConfig(widths=(16,), activation="leaky_relu", batch_norm=False)
CODES = CodesConfig(classes=3, continuous=2)


class TestInfoGAN(ModelContract):
    config = InfoGANConfig(
        latent_dim=7,
        net=NET,
        critic=BODY,
        features=16,
        prior=CODES,
        critic_optimizer=AdamConfig(learning_rate=2e-3, beta1=0.5),
    )


class TestClipping(ModelContract):
    without_gradient = ("critic.top.bias",)
    config = InfoGANConfig(
        latent_dim=4,
        net=NET,
        critic=BODY,
        features=16,
        prior=CodesConfig(classes=3, continuous=0),
        divergence=Wasserstein(constraint="clip", critic_steps=2),
    )


def small(**values: Any) -> tuple[InfoGAN, Batch]:
    """An InfoGAN without batch normalisation, and a batch of grey images."""
    net = MLPConfig(widths=(6,), batch_norm=False)
    config = InfoGANConfig(latent_dim=7, net=net, critic=BODY, features=8, prior=CODES, **values)
    with Draw(0).as_global():
        model = config.build((1, 3, 3))
    return model, Batch(Draw(1).uniform((8, 1, 3, 3)), torch.full((8,), -1))


def test_the_codes_have_their_distribution() -> None:
    """Each part of z has the mean and the variance of its closed form, within five errors."""
    prior = InfoGANConfig(latent_dim=7, prior=CODES).build((1, 8, 8)).latent_prior()
    n = 40_000
    z = prior.sample(Draw(0), (n,)).double()
    noise, one_hot, uniform = z.split([2, 3, 2], 1)
    assert ((one_hot == 0) | (one_hot == 1)).all() and (one_hot.sum(1) == 1).all()
    assert (uniform >= -1).all() and (uniform < 1).all()
    # N(0, 1), a Bernoulli with probability 1/3, and U(-1, 1).
    variance = torch.tensor([1.0, 1.0, *[2 / 9] * 3, 1 / 3, 1 / 3], dtype=torch.float64)
    assert ((z.mean(0) - prior.mean).abs() < 5 * (variance / n).sqrt()).all()
    assert prior.mean.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3, 0, 0])
    torch.testing.assert_close(z.var(0), variance, rtol=0.05, atol=0)
    # The parts are independent: no correlation is larger than chance.
    parts = torch.cat([noise, one_hot[:, :2], uniform], 1)
    correlation = torch.corrcoef(parts.T)
    correlation[2, 3] = correlation[3, 2] = 0  # two columns of one class exclude each other
    assert (correlation - correlation.diag().diag()).abs().max() < 5 / math.sqrt(n)
    for call in (lambda: prior.log_prob(z), lambda: prior.kl(None, z)):
        with pytest.raises(TypeError, match="one-hot class"):
            call()


def test_the_bound_is_the_information_if_q_is_the_posterior() -> None:
    """For a channel of two classes whose posterior is Q, E[log Q(c|x)] + H(c) is I(c; x), which
    the probability table p(c, x) gives a second time; every other Q gives less."""
    table = np.array([[0.45, 0.05], [0.1, 0.4]])  # p(c, x) for classes c and images x
    exact = (table * np.log(table / np.outer(table.sum(1), table.sum(0)))).sum()
    config = InfoGANConfig(
        latent_dim=3, net=NET, critic=BODY, features=8, prior=CodesConfig(classes=2, continuous=0)
    )
    model = config.build((1, 1, 1))
    counts = (table * 1000).astype(int)
    c, x = (np.repeat(axis.ravel(), counts.ravel()) for axis in np.indices((2, 2)))
    z = torch.cat([torch.zeros(1000, 1), torch.eye(2)[torch.from_numpy(c)]], 1)
    images = torch.from_numpy(x).float().reshape(-1, 1, 1, 1)

    def bound(posterior: np.ndarray[Any, Any]) -> float:
        logits = torch.from_numpy(np.log(posterior)).float()  # [x, c]
        model.q.forward = lambda features: logits[torch.from_numpy(x)]  # type: ignore[method-assign]
        return model.information(images, z).classes.item()

    posterior = (table / table.sum(0)).T
    # The bound has H(c) = log 2, and the table's classes have the probabilities 1/2 each.
    assert table.sum(1) == pytest.approx([0.5, 0.5])
    assert bound(posterior) == pytest.approx(exact, abs=1e-6)
    assert bound(np.full((2, 2), 0.5)) == pytest.approx(0, abs=1e-6)
    assert bound(posterior[::-1].copy()) < bound(np.array([[0.7, 0.3], [0.2, 0.8]])) < exact


def test_the_bound_of_continuous_codes_by_hand() -> None:
    """E[log N(c; mu, sigma^2)] + S log 2, computed by numpy."""
    model, batch = small()
    x, z = generate(model, batch, Draw(0))
    q = model.infer(x)
    mean, sd = q.continuous.mean.detach().numpy(), (0.5 * q.continuous.log_var).exp()
    spread = sd.detach().numpy()
    c = z[:, 5:].numpy()
    density = np.exp(-0.5 * ((c - mean) / spread) ** 2) / (spread * math.sqrt(2 * math.pi))
    wanted = np.log(density).sum(1).mean() + 2 * math.log(2)
    information = model.information(x, z)
    assert information.continuous.item() == pytest.approx(wanted, abs=1e-5)
    probabilities = q.log_probs.exp().detach()
    assert probabilities.sum(1).numpy() == pytest.approx(np.ones(8), abs=1e-6)
    chosen = probabilities[z[:, 2:5].bool()].numpy()
    wanted = np.log(chosen).mean() + math.log(3)
    assert information.classes.item() == pytest.approx(wanted, abs=1e-5)


def test_generator_and_q_maximise_the_weighted_bound() -> None:
    """The weights change the losses by -lambda L_I, and a weight of 0 leaves a GAN."""
    (plain, batch), (weighted, _) = (
        small(class_weight=a, continuous_weight=b) for a, b in ((0.0, 0.0), (2.0, 0.5))
    )
    bounds = plain.information(*generate(plain, batch, Draw(4)))
    bonus = (2 * bounds.classes + 0.5 * bounds.continuous).item()
    for loss in (critic_loss, generator_loss):
        without, terms = loss(plain, batch, Draw(4))
        with_codes, same = loss(weighted, batch, Draw(4))
        assert with_codes.item() == pytest.approx(without.item() - bonus, abs=1e-5)
        assert terms.keys() == same.keys()
    assert terms["class_information"].item() == pytest.approx(bounds.classes.item(), abs=1e-6)
    assert terms["generator"].item() == pytest.approx(without.item(), abs=1e-6)


def test_training_finds_the_codes() -> None:
    """After a short training the images tell most of their class; at most, it is log K."""
    helper = TestInfoGAN()
    model: Any = helper.build()
    history = helper.train(model, model.stages(), 20)
    information = [point.terms["class_information"] for point in history]
    assert information[0] < 0.2 < 0.6 * math.log(3) < information[-1] <= math.log(3)


def test_the_clipping_leaves_q_alone() -> None:
    helper = TestClipping()
    model: Any = helper.build()
    helper.train(model, model.stages(), 2)

    def largest(module: Any) -> Tensor:
        return torch.stack([p.abs().max() for p in module.parameters()]).max()

    assert largest(model.critic) <= torch.tensor(0.01) < largest(model.q)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latent_dim": 12}, "must be >= 13, got latent_dim=12"),
        ({"features": 0}, "features must be a whole number >= 1, got features=0"),
        ({"class_weight": -1.0}, "class_weight must be a finite number >= 0, got"),
        ({"continuous_weight": math.inf}, "continuous_weight must be a finite number >= 0, got"),
        ({"divergence": MMD()}, "InfoGAN needs a divergence with a critic, got"),
        (
            {"divergence": Wasserstein(), "critic": NET},
            "must have no batch normalisation: set critic.batch_norm to False",
        ),
    ],
)
def test_bad_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InfoGANConfig(**{"latent_dim": 13, **values})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": 1}, "classes must be >= 2, got classes=1"),
        ({"continuous": -1}, "continuous must be >= 0, got continuous=-1"),
    ],
)
def test_bad_codes_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CodesConfig(**values)
