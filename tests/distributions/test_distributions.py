import math

import pytest
import torch
from scipy import stats

from genae_core.distributions.base import Bernoulli, Delta, Normal
from genae_core.distributions.rng import Draw

N = 20_000


def test_the_density_of_a_normal_against_scipy() -> None:
    mean, log_var, x = (3 * Draw(i).normal((4, 3)) for i in range(3))
    log_prob = Normal(mean, log_var).log_prob(x)
    wanted = stats.norm.logpdf(x.double(), mean.double(), (log_var.double() / 2).exp())
    assert log_prob.shape == (4, 3)
    torch.testing.assert_close(log_prob.double(), torch.from_numpy(wanted), rtol=1e-4, atol=1e-4)


def test_samples_of_a_normal() -> None:
    mean, log_var = Draw(0).normal((2, 3)), Draw(1).normal((2, 3))
    sample = Normal(mean, log_var).sample(Draw(2), (N,)).double()
    assert sample.shape == (N, 2, 3)
    scaled = (sample - mean) / (log_var.double() / 2).exp()
    # 5 standard errors of the mean and the variance of N unit Gaussians.
    assert scaled.mean(0).abs().max() < 5 / math.sqrt(N)
    assert (scaled.var(0) - 1).abs().max() < 5 * math.sqrt(2 / N)
    flat = scaled.reshape(N, 6)
    assert (torch.corrcoef(flat.T) - torch.eye(6)).abs().max() < 5 / math.sqrt(N)


def test_samples_of_a_normal_are_reparameterised() -> None:
    """dz/dmu = 1 and dz/dlog_var = sigma eps / 2 = (z - mu) / 2."""
    mean, log_var = (Draw(i).normal((2, 3)).requires_grad_() for i in range(2))
    z = Normal(mean, log_var).sample(Draw(2))
    z.sum().backward()
    assert mean.grad is not None and log_var.grad is not None
    torch.testing.assert_close(mean.grad, torch.ones(2, 3))
    torch.testing.assert_close(log_var.grad, ((z - mean) / 2).detach())


def test_the_density_of_bernoulli_pixels() -> None:
    logits = 3 * Draw(0).normal((4, 5))
    distribution = Bernoulli(logits)
    p = torch.sigmoid(logits.double())
    torch.testing.assert_close(distribution.mean.double(), p, rtol=1e-5, atol=1e-6)
    for x in (torch.zeros(4, 5), torch.ones(4, 5), Draw(1).uniform((4, 5))):
        wanted = x * p.log() + (1 - x) * (1 - p).log()
        torch.testing.assert_close(distribution.log_prob(x).double(), wanted, rtol=1e-5, atol=1e-5)
    both = (
        distribution.log_prob(torch.ones(4, 5)).exp()
        + distribution.log_prob(torch.zeros(4, 5)).exp()
    )
    torch.testing.assert_close(both, torch.ones(4, 5))


def test_the_density_of_bernoulli_pixels_stays_finite_far_out() -> None:
    distribution = Bernoulli(torch.tensor([-1e4, 1e4]))
    torch.testing.assert_close(
        distribution.log_prob(torch.tensor([1.0, 0.0])), torch.full((2,), -1e4)
    )
    assert distribution.log_prob(torch.tensor([0.0, 1.0])).abs().max() == 0


def test_samples_of_bernoulli_pixels() -> None:
    distribution = Bernoulli(Draw(0).normal((2, 3)))
    sample = distribution.sample(Draw(1), (N,))
    assert sample.shape == (N, 2, 3) and set(sample.unique().tolist()) == {0.0, 1.0}
    error = (distribution.mean * (1 - distribution.mean) / N).sqrt()
    assert ((sample.mean(0) - distribution.mean).abs() < 5 * error).all()
    assert Bernoulli(torch.full((100,), -200.0)).sample(Draw(0)).max() == 0
    assert Bernoulli(torch.full((100,), 200.0)).sample(Draw(0)).min() == 1


def test_a_point_is_its_own_sample_and_draws_nothing() -> None:
    mean, draw = Draw(0).normal((2, 3)), Draw(1)
    state = draw.generator.get_state()
    distribution = Delta(mean)
    assert torch.equal(distribution.sample(draw), mean)
    assert distribution.sample(draw, (4,)).shape == (4, 2, 3)
    assert torch.equal(distribution.sample(draw, (4,))[3], mean)
    assert torch.equal(draw.generator.get_state(), state)
    with pytest.raises(TypeError, match="no density"):
        distribution.log_prob(mean)


@pytest.mark.parametrize(
    "distribution", [Normal(torch.zeros(2, 3), torch.zeros(2, 3)), Bernoulli(torch.zeros(2, 3))]
)
def test_the_draw_alone_decides_a_sample(distribution: Normal | Bernoulli) -> None:
    state = torch.get_rng_state()
    one, other = distribution.sample(Draw(0), (9,)), distribution.sample(Draw(0), (9,))
    assert torch.equal(one, other) and not torch.equal(one, distribution.sample(Draw(1), (9,)))
    assert torch.equal(torch.get_rng_state(), state)
