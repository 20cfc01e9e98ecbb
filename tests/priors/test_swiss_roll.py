import math

import pytest
import torch
from scipy.stats import kstest

from genae_core.distributions.rng import Draw
from genae_core.priors.swiss_roll import SwissRollPriorConfig
from genae_core.testing.prior import PriorContract


class TestSwissRoll(PriorContract):
    config = SwissRollPriorConfig()
    dim = 2
    has_density = False


def test_the_axis_is_walked_at_even_speed() -> None:
    """Equal shares of the length are equal distances, and the ends are those of the config."""
    config = SwissRollPriorConfig()
    axis = config.build(2).axis(torch.linspace(0, 1, 20_001)).double()
    steps = axis.diff(dim=0).norm(dim=1)
    assert float(steps.std() / steps.mean()) < 0.02  # float32 differences of points of order 7
    for point, turn in ((axis[0], config.first_turn), (axis[-1], config.last_turn)):
        t = 2 * math.pi * turn
        wanted = config.pitch * t * torch.tensor([math.cos(t), math.sin(t)])
        torch.testing.assert_close(point, wanted.double(), rtol=0, atol=1e-4)
    # The length of r = a t is a/2 (t sqrt(1 + t^2) + asinh t) between the ends.
    a, b = (2 * math.pi * t for t in (config.first_turn, config.last_turn))
    length = sum(s * (t * math.sqrt(1 + t * t) + math.asinh(t)) / 2 for s, t in ((-1, a), (1, b)))
    assert float(steps.sum()) == pytest.approx(config.pitch * length, rel=1e-4)


def test_samples_are_uniform_along_the_length_and_normal_across() -> None:
    config = SwissRollPriorConfig(sd=0.05)
    prior = config.build(2)
    z = prior.sample(Draw(0), (4_000,))
    shares = torch.linspace(0, 1, 4_001)
    nearest = torch.cdist(z, prior.axis(shares)).argmin(1)
    assert kstest(shares[nearest].numpy(), "uniform").pvalue > 1e-3
    away = (z - prior.axis(shares[nearest])).norm(dim=1)  # |N(0, sd^2)| across the axis
    assert float(away.square().mean().sqrt()) == pytest.approx(0.05, rel=0.06)


def test_a_class_is_its_stretch_of_the_roll() -> None:
    config = SwissRollPriorConfig(sd=1e-4, classes=4)
    prior = config.build(2)
    labels = torch.arange(4).repeat_interleave(500)
    z = prior.sample_given(labels, Draw(0))
    shares = torch.linspace(0, 1, 8_001)
    nearest_class = (
        (shares[torch.cdist(z, prior.axis(shares)).argmin(1)] * 4).clamp_max(3.999).long()
    )
    assert (nearest_class == labels).float().mean() > 0.99


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="a swiss roll needs latent_dim 2, got latent_dim=3"):
        SwissRollPriorConfig().build(3)
    with pytest.raises(ValueError, match="last_turn must be > first_turn"):
        SwissRollPriorConfig(first_turn=2.0, last_turn=1.0)
