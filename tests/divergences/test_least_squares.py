import math

import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.divergences.least_squares import LeastSquares
from genae_core.testing.divergence import DivergenceContract


class TestLeastSquares(DivergenceContract):
    @pytest.fixture
    def divergence(self) -> LeastSquares:
        return LeastSquares()


def test_the_best_critic_is_the_targets_share() -> None:
    """At each z the loss p (v - 1)^2 / 2 + q v^2 / 2 is least at p / (p + q), by a grid over
    v, and its integral is half of that of p q / (p + q)."""
    z = torch.linspace(-9, 10, 2_001, dtype=torch.float64)
    p = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    q = torch.exp(-0.5 * (z - 1) ** 2) / math.sqrt(2 * math.pi)
    v = torch.linspace(0, 1, 1_001, dtype=torch.float64)[:, None]
    pointwise = 0.5 * p * (v - 1) ** 2 + 0.5 * q * v**2
    least, place = pointwise.min(0)
    assert ((v[place, 0] - p / (p + q)).abs() <= 0.5e-3 + 1e-9).all()
    wanted = 0.5 * torch.trapezoid(p * q / (p + q), z)
    assert float(torch.trapezoid(least, z)) == pytest.approx(float(wanted), abs=1e-6)
    # The losses estimate it on samples.
    n = 200_000
    target, codes = Draw(0).normal((n, 1)).double(), Draw(1).normal((n, 1)).double() + 1
    loss = LeastSquares().critic_loss(
        lambda x: torch.sigmoid(0.5 - x[:, 0]), target, codes, Draw(2)
    )
    assert float(loss) == pytest.approx(float(wanted), abs=5 * 0.5 / math.sqrt(n))


def test_the_losses_in_closed_values() -> None:
    z = torch.zeros(4, 1)
    loss = LeastSquares()
    assert float(loss.critic_loss(lambda x: x[:, 0] + 0.25, z, z, Draw(0))) == pytest.approx(
        0.5 * 0.75**2 + 0.5 * 0.25**2
    )
    assert float(loss.codes_loss(lambda x: x[:, 0] + 0.25, z, z)) == pytest.approx(0.5 * 0.75**2)
