"""Resampled draws, where the density ratio is known, and where a classifier has to find it."""

import math

import pytest
import torch
from scipy import stats
from test_selected_mixture import gaussian
from torch import Tensor, nn

from genae_core.config import from_json, to_json
from genae_core.distributions.rng import Draw
from genae_core.priors.mixture import GaussianMixture
from genae_core.priors.principal import Frame, Principal
from genae_core.priors.resampled_mixture import Resampled, ResampledMixture
from genae_core.priors.selected_mixture import SelectedMixture
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.config import ChainConfig

WIDE, SHIFT = 1.5, 0.7  # of the draws; the codes are N(0, I)
DRAWS = 5_000


def proposal() -> Principal:
    """N(SHIFT, WIDE^2 I) in two dimensions."""
    lead = GaussianMixture(
        torch.ones(1), torch.full((1, 2), SHIFT), WIDE * torch.eye(2).expand(1, 2, 2)
    )
    return Principal(lead, Frame(torch.zeros(2), torch.eye(2), torch.ones(2)))


class ExactRatio(nn.Module):
    """log N(y; 0, I) - log N(y; SHIFT, WIDE^2 I) up to a constant, [..., 1]."""

    def forward(self, y: Tensor) -> Tensor:
        log_ratio = ((y - SHIFT) / WIDE).square() - y.square()
        return 0.5 * log_ratio.sum(-1, keepdim=True)


def test_with_the_exact_ratio_and_many_candidates_it_is_the_distribution_of_the_codes() -> None:
    """The largest ratio is WIDE^2 exp(SHIFT^2 / (WIDE^2 - 1)) = 3.3: 200 candidates are many."""
    z = Resampled(proposal(), ExactRatio(), 200).sample(Draw(0), (DRAWS,))
    for column in z.double().T.numpy():
        assert stats.kstest(column, stats.norm.cdf).pvalue > 1e-4
    assert abs(float(z.T.corrcoef()[0, 1])) < 5 / math.sqrt(DRAWS)


def test_with_one_candidate_it_is_the_mixture() -> None:
    z = Resampled(proposal(), ExactRatio(), 1).sample(Draw(0), (DRAWS,))
    for column in z.double().T.numpy():
        assert stats.kstest(column, stats.norm(SHIFT, WIDE).cdf).pvalue > 1e-4


def test_two_candidates_have_the_distribution_that_quadrature_gives() -> None:
    """P(z < t) = 2 int_{z < t} p(z) E[r(z) / (r(z) + r(z'))] dz for z' ~ p, on a grid."""
    wide = stats.norm(SHIFT, WIDE)
    lead = GaussianMixture(torch.ones(1), torch.tensor([[SHIFT]]), torch.tensor([[[WIDE]]]))
    one = Principal(lead, Frame(torch.zeros(1), torch.eye(1), torch.ones(1)))
    z = Resampled(one, ExactRatio(), 2).sample(Draw(0), (DRAWS,))[:, 0]
    grid = torch.linspace(-8, 9, 1_701, dtype=torch.float64)
    p = torch.from_numpy(wide.pdf(grid.numpy()))
    p = p / p.sum()
    r = torch.from_numpy(stats.norm.pdf(grid.numpy()) / wide.pdf(grid.numpy()))
    density = 2 * p * ((r[:, None] / (r[:, None] + r)) @ p)
    assert float(density.sum()) == pytest.approx(1)
    mean = float(density @ grid)
    variance = float(density @ grid.square()) - mean**2
    assert float(z.mean()) == pytest.approx(mean, abs=5 * math.sqrt(variance / DRAWS))
    assert float(z.var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / DRAWS))


@pytest.mark.slow
def test_a_classifier_finds_what_one_gaussian_lacks() -> None:
    """Codes of two clusters, and a mixture of one Gaussian: few of the resampled draws lie between
    the clusters, where a tenth of the Gaussian's draws lie."""
    side = torch.where(Draw(0).uniform((4_000, 1)) < 0.5, -2.0, 2.0)
    codes = torch.cat([side, torch.zeros_like(side)], 1) + 0.3 * Draw(1).normal((4_000, 2))
    config = ResampledMixture(mixture=SelectedMixture(first=1, most=1), epochs=20)
    resampled = config.fit(codes, Draw(2))
    between = [
        float((distribution.sample(Draw(3), (4_000,))[:, 0].abs() < 0.3).float().mean())
        for distribution in (resampled.proposal, resampled)
    ]
    assert between[0] > 0.08 and between[1] < 0.02
    # The clusters keep their weights.
    share = float((resampled.sample(Draw(3), (4_000,))[:, 0] > 0).float().mean())
    assert share == pytest.approx(0.5, abs=0.1)


def test_it_has_no_density_and_survives_json() -> None:
    config = ResampledMixture(mixture=SelectedMixture(first=1, most=1), epochs=1, candidates=3)
    one, again = (config.fit(gaussian(200), Draw(2)) for _ in range(2))
    assert torch.equal(one.sample(Draw(0), (2, 5)), again.sample(Draw(0), (2, 5)))
    assert one.sample(Draw(0), (2, 5)).shape == (2, 5, 4) and one.mean.shape == (4,)
    with pytest.raises(TypeError, match="no closed form"):
        one.log_prob(one.sample(Draw(0), (5,)))
    chain = ChainConfig(sampler=Ancestral(), fitted_prior=config)
    assert from_json(to_json(chain)) == chain
    with pytest.raises(ValueError, match="candidates"):
        ResampledMixture(candidates=0)
