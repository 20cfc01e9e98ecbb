import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.priors.base import Host
from genae_core.priors.mixture import GaussianMixture
from genae_core.priors.vamp import VampPriorConfig
from genae_core.testing.prior import Encoder, PriorContract
from genae_core.testing.toys import digest


class TestVamp(PriorContract):
    config = VampPriorConfig(components=3)


def test_it_is_the_mixture_of_the_encodings() -> None:
    encoder = Encoder(2).eval()
    prior = VampPriorConfig(components=4).build(2, Host((1, 2, 3), encoder.encode))
    with torch.no_grad():
        q = encoder.encode(torch.sigmoid(prior.logits))
        mixture = GaussianMixture(
            torch.full((4,), 0.25), q.mean, torch.diag_embed((q.log_var / 2).exp())
        )
        z = Draw(0).normal((20, 2))
        torch.testing.assert_close(prior.log_prob(z), mixture.log_prob(z), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(prior.mean, mixture.mean)


def test_pseudo_inputs_learn_and_leave_the_running_statistics_alone() -> None:
    encoder = Encoder(2).train()
    prior = VampPriorConfig(components=4).build(2, Host((1, 2, 3), encoder.encode))
    before = digest(encoder)
    prior.log_prob(torch.zeros(5, 2)).sum().backward()
    assert prior.logits.grad is not None and prior.logits.grad.abs().min() > 0
    assert digest(encoder) == before and encoder.body[2].training


def test_it_needs_a_model_with_encodings() -> None:
    with pytest.raises(ValueError, match=r"needs a model with a Gaussian encoder \(a VAE\)"):
        VampPriorConfig().build(2)
