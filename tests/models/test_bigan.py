"""BiGAN and ALI."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.divergences.f_divergence import FDivergence
from genae_core.divergences.mmd import MMD
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.models.base import Batch
from genae_core.models.bigan import BiGAN, BiGANConfig, encoded_pairs, encoder_loss
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.testing.model import ModelContract

NET = MLPConfig(widths=(32,))
BODY = MLPConfig(widths=(16,), activation="leaky_relu", batch_norm=False)
JOINT = CriticConfig(widths=(16,), dropout=0.0)
OPTIMIZER = AdamConfig(learning_rate=2e-3, beta1=0.5)


class PairsContract(ModelContract):
    """The contract on images that have as many dimensions as their codes.

    Nothing in the objective asks for reconstructions, except that the pairs agree. On the four toy
    patterns they cannot: a deterministic encoder gives four codes, and the prior has a plane.
    """

    epochs = 50

    def images(self, count: int = 64) -> Tensor:
        directions = 1.5 * Draw(0, "directions").normal((2, 64))
        u = Draw(0, "images").normal((count, 2))
        return torch.sigmoid(u @ directions).reshape(count, *self.shape)


class TestBiGAN(PairsContract):
    config = BiGANConfig(latent_dim=2, net=NET, critic=BODY, joint=JOINT, optimizer=OPTIMIZER)


class TestALI(PairsContract):
    config = BiGANConfig(
        latent_dim=2, posterior="gaussian", net=NET, critic=BODY, joint=JOINT, optimizer=OPTIMIZER
    )


class TestWasserstein(PairsContract):
    epochs = 20
    without_gradient = ("critic.joint.top.bias",)
    config = BiGANConfig(
        latent_dim=2,
        net=NET,
        critic=BODY,
        joint=CriticConfig(widths=(32, 32), dropout=0.0),
        optimizer=AdamConfig(learning_rate=3e-3, beta1=0.5, beta2=0.9),
        divergence=Wasserstein(critic_steps=3, penalty=1.0),
        average=0.5,
    )


def small(divergence: Any) -> tuple[BiGAN, Batch]:
    """A BiGAN without batch normalisation, in float64, and a batch of grey images."""
    net = MLPConfig(widths=(6,), batch_norm=False)
    config = BiGANConfig(latent_dim=2, net=net, critic=BODY, joint=JOINT, divergence=divergence)
    with Draw(0).as_global():
        model = config.build((1, 3, 3)).double()
    x = Draw(1).uniform((8, 1, 3, 3)).double()
    return model, Batch(x, torch.full((8,), -1))


class Double(Draw):
    """Draws in float64."""

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return super().normal(shape).double()


def test_the_losses_are_those_of_the_papers() -> None:
    """The critic maximises E[log D(x, E(x))] + E[log(1 - D(G(z), z))]. The others have the labels
    exchanged (Dumoulin et al. 2017, algorithm 1), computed here by numpy."""
    model, batch = small(FDivergence())
    matching = model.matching()
    z = Double(3).normal((8, 2))
    with torch.no_grad():
        generated = torch.cat([torch.sigmoid(model.generator(z)).reshape(8, 9), z], 1)
        encoded = torch.cat([batch.x.reshape(8, 9), model.encoder(batch.x)], 1)
        scores = [model.critic(pairs, Draw(0)).numpy() for pairs in (encoded, generated)]
    of_encoded, of_generated = (1 / (1 + np.exp(-score)) for score in scores)
    critic, _ = matching.critic_loss(model, batch, Double(3))
    generator, _ = matching.codes_loss(model, batch, Double(3))
    encoder, _ = encoder_loss(model, batch, Double(3))
    value = np.log(of_encoded).mean() + np.log(1 - of_generated).mean()
    assert critic.item() == pytest.approx(-value, abs=1e-12)
    assert generator.item() == pytest.approx(-np.log(of_generated).mean(), abs=1e-12)
    assert encoder.item() == pytest.approx(-np.log(1 - of_encoded).mean(), abs=1e-12)


@pytest.mark.parametrize(
    "divergence",
    [FDivergence(saturating=True), FDivergence(kind="kl", saturating=True),
     Wasserstein(constraint="clip")],
)  # fmt: skip
def test_both_sides_minimise_what_the_critic_maximises(divergence: Any) -> None:
    """The gradients of the generator's and of the encoder's loss are finite differences of minus
    the critic's loss (Donahue et al. 2017, eq. 2: both minimise V)."""
    model, batch = small(divergence)
    matching = model.matching()
    losses = {model.generator: matching.codes_loss, model.encoder: encoder_loss}
    for network, loss in losses.items():
        weight = next(network.parameters())
        (gradient,) = torch.autograd.grad(loss(model, batch, Double(3))[0], weight)

        def value(step: float, weight: Tensor = weight) -> float:
            with torch.no_grad():
                weight[0, 0] += step
                loss, _ = matching.critic_loss(model, batch, Double(3))
                weight[0, 0] -= step
            return -float(loss)

        slope = (value(1e-5) - value(-1e-5)) / 2e-5
        assert abs(slope) > 1e-7
        assert float(gradient[0, 0]) == pytest.approx(slope, rel=1e-4)


def test_the_critic_scores_the_image_and_the_code() -> None:
    model, batch = small(FDivergence())
    pairs = encoded_pairs(model, batch, Draw(0)).detach().requires_grad_()
    assert pairs.shape == (8, 9 + 2)
    (gradient,) = torch.autograd.grad(model.critic(pairs, Draw(0)).sum(), pairs)
    assert (gradient != 0).any(0).all()


def test_a_gaussian_encoder_has_a_density_and_a_point_has_none() -> None:
    point, gaussian = (
        BiGANConfig(latent_dim=2, net=NET, posterior=posterior)
        for posterior in ("deterministic", "gaussian")
    )
    assert (point.family, gaussian.family) == ("BiGAN", "ALI")
    x, z = torch.zeros(4, 1, 8, 8), torch.zeros(4, 2)
    q = gaussian.build((1, 8, 8)).eval().encode(x)
    wanted = torch.distributions.Normal(q.mean, (0.5 * q.log_var).exp())  # type: ignore[attr-defined]
    torch.testing.assert_close(q.log_prob(z), wanted.log_prob(z))
    with pytest.raises(TypeError, match="log_prob is undefined"):
        point.build((1, 8, 8)).eval().encode(x).log_prob(z)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"posterior": "point"}, 'posterior must be "deterministic" or "gaussian", got'),
        ({"divergence": MMD()}, "BiGAN needs a divergence with a critic, got divergence='MMD'"),
        (
            {"divergence": Wasserstein(), "critic": NET},
            "must have no batch normalisation: set critic.batch_norm to False",
        ),
        ({"average": 1.0}, r"average must be in \[0, 1\), got average=1.0"),
    ],
)
def test_bad_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BiGANConfig(latent_dim=2, **values)
