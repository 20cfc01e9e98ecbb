"""The mixture whose size held-out codes choose, on codes whose distribution is known."""

import math

import pytest
import torch
from scipy import stats

from genae_core.config import from_json, to_json
from genae_core.distributions.rng import Draw
from genae_core.priors.principal import principal_frame
from genae_core.priors.selected_mixture import SelectedMixture
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.config import ChainConfig

SD = torch.tensor([2.0, 1.5, 0.5, 0.1])


def gaussian(count: int, seed: int = 0) -> torch.Tensor:
    """Codes of a Gaussian with the standard deviations SD along turned axes, and a mean."""
    axes, _ = torch.linalg.qr(Draw(5).normal((4, 4)))
    return SD * Draw(seed).normal((count, 4)) @ axes.T + torch.tensor([1.0, -2.0, 0.0, 3.0])


def clusters(count: int, seed: int = 0) -> torch.Tensor:
    """Codes of 12 narrow Gaussians of equal weight on a ring in the plane."""
    k = (12 * Draw(seed, "which").uniform((count,))).long()
    angle = 2 * math.pi * k / 12
    return torch.stack([angle.cos(), angle.sin()], 1) * 4 + 0.3 * Draw(seed).normal((count, 2))


def test_it_takes_one_gaussian_for_a_gaussian_and_more_for_many_clusters() -> None:
    assert SelectedMixture(first=1).fit(gaussian(1_500), Draw(0)).lead.num_classes == 1
    fitted = SelectedMixture(first=1).fit(clusters(3_000), Draw(0))
    assert 8 <= fitted.lead.num_classes <= 32
    assert SelectedMixture(first=1, most=4).fit(clusters(3_000), Draw(0)).lead.num_classes <= 4


def test_the_density_of_held_out_codes_is_that_of_the_distribution() -> None:
    """The mean log p of the true ring is computed from its formula."""
    fitted = SelectedMixture(first=3).fit(clusters(6_000), Draw(0))
    fresh = clusters(4_000, seed=1)
    angle = 2 * math.pi * torch.arange(12) / 12
    offset = fresh[:, None] - 4 * torch.stack([angle.cos(), angle.sin()], 1)
    exact = (-0.5 * (offset / 0.3).square().sum(2)).logsumexp(1)
    exact = exact - math.log(12) - 2 * math.log(0.3) - math.log(2 * math.pi)
    gap = float((exact - fitted.log_prob(fresh)).mean())
    assert 0 <= gap < 0.05  # the Kullback-Leibler divergence, in nats


@pytest.mark.parametrize("dimensions", [2, 3, 8])
def test_a_gaussian_is_whole_in_any_number_of_leading_components(dimensions: int) -> None:
    """Leading and other components together have the covariance of the codes."""
    codes = gaussian(4_000)
    fitted = SelectedMixture(first=1, most=1, dimensions=dimensions).fit(codes, Draw(0))
    assert fitted.lead.means.shape == (1, min(dimensions, 4))
    kept = codes[: round(0.8 * len(codes))]
    torch.testing.assert_close(fitted.mean, kept.mean(0), rtol=0, atol=1e-4)
    exact = stats.multivariate_normal(kept.mean(0).numpy(), kept.T.cov(correction=0).numpy())
    torch.testing.assert_close(
        fitted.log_prob(codes[:50]).double(),
        torch.from_numpy(exact.logpdf(codes[:50].numpy())),
        rtol=0,
        atol=1e-3,
    )
    z = fitted.sample(Draw(1), (20_000,))
    covariance = kept.T.cov(correction=0)
    error = (torch.outer(covariance.diag(), covariance.diag()) + covariance**2).sqrt()
    assert ((z.T.cov() - covariance).abs() < 5 * error / math.sqrt(20_000)).all()


def test_codes_that_do_not_fill_their_space_have_a_finite_density() -> None:
    codes = torch.cat([clusters(1_000), torch.zeros(1_000, 3)], 1)
    for dimensions in (2, 5):
        fitted = SelectedMixture(first=2, most=8, dimensions=dimensions).fit(codes, Draw(0))
        assert fitted.log_prob(codes).isfinite().all()
        assert float(fitted.sample(Draw(0), (500,))[:, 2:].abs().max()) < 0.05


def test_codes_of_one_dimension() -> None:
    codes = 3 + 2 * Draw(0).normal((2_000, 1))
    fitted = SelectedMixture(first=1, most=1).fit(codes, Draw(0))
    exact = torch.from_numpy(stats.norm(3, 2).logpdf(codes[:, 0].numpy()))
    assert float((fitted.log_prob(codes) - exact).mean().abs()) < 0.01


def test_the_frame_has_the_widest_axes_first() -> None:
    frame = principal_frame(gaussian(20_000))
    torch.testing.assert_close(frame.sd, SD, rtol=5 / math.sqrt(2 * 20_000), atol=0)
    torch.testing.assert_close(frame.axes.T @ frame.axes, torch.eye(4), rtol=0, atol=1e-5)


def test_a_seed_gives_the_same_mixture_and_the_config_survives_json() -> None:
    config = SelectedMixture(first=3, most=12)
    one, again = (config.fit(clusters(1_000), Draw(2)) for _ in range(2))
    for name, part in one.state_dict().items():
        assert torch.equal(part, again.state_dict()[name])
    chain = ChainConfig(sampler=Ancestral(), fitted_prior=config)
    assert from_json(to_json(chain)) == chain


def test_bad_input_is_refused() -> None:
    for settings in ({"first": 0}, {"dimensions": 0}, {"held_out": 1.0}, {"held_out": -0.1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            SelectedMixture(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="first must be <= most=5, got first=10"):
        SelectedMixture(most=5)
    with pytest.raises(ValueError, match="at least 20 codes for each, got codes=249"):
        SelectedMixture().fit(torch.zeros(249, 2), Draw(0))
