import math

import pytest
import torch

from genae_core.config import from_json, to_json
from genae_core.distributions.rng import Draw
from genae_core.models.likelihoods import GREY_LEVEL, BernoulliPixels, GaussianPixels

OUTPUT = Draw(0).normal((4, 2, 3, 3))


def test_bernoulli_pixels_are_the_cross_entropy() -> None:
    distribution = BernoulliPixels().distribution(OUTPUT)
    x = Draw(1).uniform((4, 2, 3, 3))
    p = torch.sigmoid(OUTPUT.double())
    wanted = x * p.log() + (1 - x) * (1 - p).log()
    torch.testing.assert_close(
        distribution.log_prob(x).double(), wanted.double(), rtol=1e-5, atol=1e-6
    )
    assert BernoulliPixels().maps(3) == 3


def test_gaussian_pixels_of_a_fixed_deviation() -> None:
    """Their log-density is torch's, and at sd^2 = 1/2 the squared error up to a constant."""
    x = Draw(1).uniform((4, 2, 3, 3))
    distribution = GaussianPixels(sd=0.3).distribution(OUTPUT)
    wanted = torch.distributions.Normal(torch.sigmoid(OUTPUT), 0.3).log_prob(x)
    torch.testing.assert_close(distribution.log_prob(x), wanted, rtol=1e-4, atol=1e-5)
    error = (x - torch.sigmoid(OUTPUT)).square()
    half = GaussianPixels(sd=math.sqrt(0.5)).distribution(OUTPUT)
    constant = -0.5 * math.log(math.pi)
    torch.testing.assert_close(-half.log_prob(x) + constant, error, rtol=1e-4, atol=1e-5)
    assert GaussianPixels(sd=0.3).maps(3) == 3
    noise = distribution.sample(Draw(2), (2_000,)) - distribution.mean
    assert float(noise.std()) == pytest.approx(0.3, rel=0.01)


def test_gaussian_pixels_learn_a_deviation_no_smaller_than_a_grey_level() -> None:
    learned = GaussianPixels()
    assert learned.maps(1) == 2
    distribution = learned.distribution(OUTPUT)
    assert distribution.mean.shape == distribution.log_var.shape == (4, 1, 3, 3)
    torch.testing.assert_close(distribution.mean, torch.sigmoid(OUTPUT[:, :1]))
    # Far above the floor the second output is the log-variance.
    torch.testing.assert_close(distribution.log_var, OUTPUT[:, 1:], rtol=1e-3, atol=1e-3)
    low = torch.full((1, 2, 1, 1), -50.0, requires_grad=True)
    floor = learned.distribution(low).log_var
    assert float(floor.detach()) == pytest.approx(2 * math.log(GREY_LEVEL))
    floor.sum().backward()
    assert low.grad is not None


def test_settings_survive_json_and_are_checked() -> None:
    for likelihood in (BernoulliPixels(), GaussianPixels(), GaussianPixels(sd=0.1)):
        assert from_json(to_json(likelihood)) == likelihood
    with pytest.raises(ValueError, match="sd must be"):
        GaussianPixels(sd=0.0)
