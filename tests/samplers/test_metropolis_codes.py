"""Metropolis-Hastings on codes: its target is the density of z, whatever the encoder does."""

import pytest
import torch
from test_chain_distribution import LATENTS, Linear, check_covariance
from test_metropolis import Pointed

from genae_core.distributions.rng import Draw
from genae_core.nets.base import sampling_mode
from genae_core.priors.mixture import GaussianMixture
from genae_core.samplers.base import ModelWithPrior
from genae_core.samplers.metropolis_codes import MetropolisCodes
from genae_core.testing.sampler import SamplerContract
from genae_core.testing.toys import Toy

CHAINS = 10_000


class TestMetropolisCodes(SamplerContract):
    sampler = MetropolisCodes()
    rejects = True


def test_on_the_linear_model_it_stays_at_the_fitted_density_and_reaches_it_from_afar() -> None:
    """The target is N(0, S); the chain without rejections has another covariance."""
    factor = torch.diag(torch.tensor([0.6, 0.4, 0.5]))
    factor[1, 0] = 0.2
    prior = GaussianMixture(torch.ones(1), torch.zeros(1, LATENTS), factor[None])
    model, sampler, draw = ModelWithPrior(Linear(), prior), MetropolisCodes(), Draw(3)
    expected = (factor @ factor.T).double().numpy()
    far = 0.3 * Draw(4).normal((CHAINS, LATENTS)) + 0.5
    for start, steps in ((CHAINS, 3), (far, 100)):
        chain = sampler.init(model, start, draw)
        for _ in range(steps):
            chain = sampler.step(model, chain, draw)
        check_covariance(chain.z, expected)
        assert chain.accepted is not None and 0.1 < float(chain.accepted.mean()) < 0.9
    free = chain
    for _ in range(40):
        z = model.encode(free.mean).sample(draw)
        free = free._replace(z=z, mean=model.decode(z).mean)
    with pytest.raises(AssertionError):
        check_covariance(free.z, expected)


def test_a_ratio_by_hand() -> None:
    """One step against the formula with torch's own distributions."""
    model = Toy()
    with sampling_mode(model, "running"):
        chain = MetropolisCodes().init(model, 500, Draw(0))
        after = MetropolisCodes().step(model, chain, Draw(5))
        draw = Draw(5)

        def q(z: torch.Tensor) -> torch.distributions.Normal:
            mean, log_var = model.encoder(model.decoder(z).sigmoid()).chunk(2, dim=1)
            return torch.distributions.Normal(mean, (0.5 * log_var).exp())

        here = q(chain.z)
        proposed = here.mean + here.stddev * draw.normal((500, 2))
        normal = torch.distributions.Normal(0.0, 1.0)
        log_ratio = normal.log_prob(proposed) + q(proposed).log_prob(chain.z)
        log_ratio = (log_ratio - normal.log_prob(chain.z) - here.log_prob(proposed)).sum(1)
        accepted = draw.uniform((500,)).log() < log_ratio
    assert 0.05 < float(accepted.float().mean()) < 0.99
    torch.testing.assert_close(after.z, torch.where(accepted[:, None], proposed, chain.z))
    torch.testing.assert_close(after.accepted, accepted.float())


def test_an_encoder_without_a_density_is_refused() -> None:
    with (
        sampling_mode(Pointed(), "running"),
        pytest.raises(ValueError, match=r"density of the encoder, which has none"),
    ):
        MetropolisCodes().init(Pointed(), 5, Draw(0))
