import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from genae_core.distributions.rng import Draw
from genae_core.priors.mixture import GaussianMixture, RingPriorConfig
from genae_core.testing.prior import PriorContract


class TestRing(PriorContract):
    config = RingPriorConfig()


class TestRingOfThree(PriorContract):
    config = RingPriorConfig(components=3, radius=2.0)


def _lopsided() -> GaussianMixture:
    factors = torch.tensor([[[1.0, 0.0], [0.5, 0.3]], [[0.2, 0.0], [-0.1, 0.4]]])
    return GaussianMixture(
        torch.tensor([0.8, 0.2]), torch.tensor([[0.0, 0.0], [1.0, -1.0]]), factors
    )


def test_the_density_is_scipys() -> None:
    mixture, z = _lopsided(), Draw(0).normal((50, 2))
    each = [
        weight
        * multivariate_normal(mean.tolist(), (factor @ factor.T).numpy()).pdf(z.double().numpy())
        for weight, mean, factor in zip(
            mixture.weights.tolist(), mixture.means, mixture.factors, strict=True
        )
    ]
    parts = torch.from_numpy(np.stack(each, 1))
    torch.testing.assert_close(
        mixture.log_prob(z).double(), parts.sum(1).log(), rtol=1e-4, atol=1e-5
    )
    wanted = parts / parts.sum(1, keepdim=True)
    torch.testing.assert_close(mixture.responsibilities(z).double(), wanted, rtol=1e-4, atol=1e-5)


def test_samples_come_by_the_weights() -> None:
    mixture, n = _lopsided(), 50_000
    z = mixture.sample(Draw(0), (n,))
    wanted = 0.8 * mixture.means[0] + 0.2 * mixture.means[1]
    assert ((z.mean(0) - wanted).abs() < 5 * z.std(0) / math.sqrt(n)).all()
    second = mixture.sample_given(torch.ones(n, dtype=torch.int64), Draw(1))
    covariance = mixture.factors[1] @ mixture.factors[1].T
    torch.testing.assert_close(second.T.cov(), covariance, rtol=0, atol=5 * 0.2 / math.sqrt(n))


def test_the_ring_is_a_ring() -> None:
    """Means on a circle, each longer along the radius, and hardly any overlap."""
    prior = RingPriorConfig().build(2)
    torch.testing.assert_close(prior.means.norm(dim=1), torch.full((10,), 4.0))
    along = prior.means / 4
    covariance = prior.factors @ prior.factors.transpose(1, 2)
    radial = torch.einsum("ki,kij,kj->k", along, covariance, along)
    torch.testing.assert_close(radial, torch.full((10,), 0.8**2))
    torch.testing.assert_close(torch.linalg.det(covariance), torch.full((10,), (0.8 * 0.35) ** 2))
    labels = torch.arange(10).repeat(2_000)
    z = prior.sample_given(labels, Draw(0))
    assert (prior.responsibilities(z).argmax(1) == labels).float().mean() > 0.98


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="a ring needs latent_dim >= 2, got latent_dim=1"):
        RingPriorConfig().build(1)
    with pytest.raises(ValueError, match="radius must be > 0"):
        RingPriorConfig(radius=0.0)
    with pytest.raises(ValueError, match="components"):
        RingPriorConfig(components=0)
