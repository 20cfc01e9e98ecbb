import pytest
import torch

from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.priors.normal import NormalPriorConfig
from genae_core.testing.prior import PriorContract


class TestStandardNormal(PriorContract):
    config = NormalPriorConfig()


class TestWiderNormal(PriorContract):
    config = NormalPriorConfig(sd=5.0)
    reach = 30.0


def test_the_kl_is_zero_at_the_prior_and_positive_elsewhere() -> None:
    prior = NormalPriorConfig().build(3)
    z = torch.zeros(5, 3)
    same = Normal(torch.zeros(5, 3), torch.zeros(5, 3))
    assert torch.equal(prior.kl(same, z), torch.zeros(5))
    other = Normal(Draw(0).normal((5, 3)), Draw(1).normal((5, 3)))
    assert (prior.kl(other, z) > 0).all()


def test_it_moves_with_its_model_and_adds_nothing_to_the_weights() -> None:
    prior = NormalPriorConfig().build(3)
    assert prior.state_dict() == {}
    assert prior.to(torch.float64).mean.dtype == torch.float64


def test_bad_settings_are_refused() -> None:
    for sd in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="sd must be"):
            NormalPriorConfig(sd=sd)
