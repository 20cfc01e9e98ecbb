import math

import pytest
import torch

from genae_core.divergences.f_divergence import (
    jensen_shannon_critic_loss,
    non_saturating_loss,
)
from genae_core.draw import Draw


def _log_normal(z: torch.Tensor, mean: float) -> torch.Tensor:
    return -0.5 * ((z - mean) ** 2 + math.log(2 * math.pi))


def _js(distance: float) -> float:
    """JS(N(0, 1), N(distance, 1)) in nats from its definition, by quadrature."""
    z = torch.linspace(-12, 12 + distance, 200_001, dtype=torch.float64)
    p, q = _log_normal(z, 0), _log_normal(z, distance)
    middle = torch.logaddexp(p, q) - math.log(2)
    terms = 0.5 * (p.exp() * (p - middle) + q.exp() * (q - middle))
    return float(torch.trapezoid(terms, z))


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0])
def test_the_optimal_critic_measures_the_jensen_shannon_divergence(distance: float) -> None:
    n = 100_000
    prior = Draw(0).normal((n,)).double()
    encoded = Draw(1).normal((n,)).double() + distance

    def logits(z: torch.Tensor) -> torch.Tensor:
        return _log_normal(z, 0) - _log_normal(z, distance)

    found = jensen_shannon_critic_loss(logits(prior), logits(encoded))
    parts = [
        torch.nn.functional.softplus(-logits(prior)),
        torch.nn.functional.softplus(logits(encoded)),
    ]
    error = math.sqrt(sum(float(part.var()) / n for part in parts))  # of two independent means
    wanted = 2 * math.log(2) - 2 * _js(distance)
    assert abs(float(found) - wanted) <= 5 * error + 1e-9


def test_the_divergence_of_this_file_has_its_limits() -> None:
    assert abs(_js(0.0)) < 1e-12
    assert 0 < _js(1.0) < _js(3.0) < math.log(2)
    assert _js(20.0) == pytest.approx(math.log(2), abs=1e-9)


def test_any_other_critic_does_worse() -> None:
    """The optimal logits minimise the critic's loss: log p / q = 1/2 - z at distance 1."""
    prior, encoded = Draw(0).normal((100_000,)), Draw(1).normal((100_000,)) + 1

    def loss(slope: float, height: float) -> float:
        return float(jensen_shannon_critic_loss(height - slope * prior, height - slope * encoded))

    others = [loss(0, 0), loss(0.5, 0.5), loss(2, 0.5), loss(1, 1.5), loss(1, -0.5)]
    assert loss(1, 0.5) < min(others)


def test_closed_values() -> None:
    zero, three = torch.zeros(4), torch.full((4,), math.log(3.0))
    # D = sigmoid(0) = 1/2 and sigmoid(log 3) = 3/4.
    cases = [
        (jensen_shannon_critic_loss(zero, zero), 2 * math.log(2)),
        (jensen_shannon_critic_loss(three, zero), math.log(4 / 3) + math.log(2)),
        (jensen_shannon_critic_loss(zero, three), math.log(2) + math.log(4)),
        (non_saturating_loss(zero), math.log(2)),
        (non_saturating_loss(three), math.log(4 / 3)),
        (non_saturating_loss(-three), math.log(4)),
    ]
    for found, wanted in cases:
        assert found.shape == () and float(found) == pytest.approx(wanted, rel=1e-6)


def test_extreme_logits_stay_finite() -> None:
    far = torch.tensor([1e4])
    assert float(jensen_shannon_critic_loss(-far, far)) == pytest.approx(2e4)
    assert float(non_saturating_loss(-far)) == pytest.approx(1e4)


def test_the_signs_of_the_gradients() -> None:
    """The critic raises the prior's logits and lowers the codes'; the encoder raises its own,
    by sigmoid(-logit) each."""
    prior, encoded = (torch.tensor([-2.0, 0.0, 2.0], requires_grad=True) for _ in range(2))
    jensen_shannon_critic_loss(prior, encoded).backward()
    assert prior.grad is not None and encoded.grad is not None
    assert (prior.grad < 0).all() and (encoded.grad > 0).all()
    codes = torch.tensor([-2.0, 0.0, 2.0], requires_grad=True)
    non_saturating_loss(codes).backward()
    assert codes.grad is not None
    torch.testing.assert_close(codes.grad, -torch.sigmoid(-codes.detach()) / 3)
