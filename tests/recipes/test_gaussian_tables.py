"""The tables f_gan_1d and saturation, at small size."""

import numpy as np
import pytest

from genae_core.divergences.f_divergence import FUNCTIONS, FDivergence
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.recipes import f_gan_table, saturation_table
from genae_core.recipes.f_gan_table import best_gaussian, fit_gaussian
from genae_core.recipes.saturation_table import best_gradient, generator_gradient


def test_the_best_gaussian_of_the_kl_divergence_has_the_moments_of_the_mixture() -> None:
    """KL(p || q) over Gaussians q is least at the mean and the variance of p."""
    mean = sum(share * middle for share, middle, _ in f_gan_table.MIXTURE)
    second = sum(share * (middle**2 + sd**2) for share, middle, sd in f_gan_table.MIXTURE)
    assert best_gaussian("kl") == pytest.approx((mean, np.sqrt(second - mean**2)), abs=1e-4)


def test_the_kinds_go_from_seeking_a_mode_to_covering_all() -> None:
    kinds = ("reverse_kl", "squared_hellinger", "jensen_shannon", "kl", "pearson")
    deviations = [best_gaussian(kind)[1] for kind in kinds]  # type: ignore[arg-type]
    assert deviations == sorted(deviations)
    assert set(FUNCTIONS) == {*kinds, "gan"}
    # The divergence of the GAN is that of Jensen and Shannon but for a constant.
    assert best_gaussian("gan") == pytest.approx(best_gaussian("jensen_shannon"), abs=1e-4)


@pytest.mark.slow
def test_the_bound_is_optimised_to_the_best_gaussian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f_gan_table, "BATCH", 100)
    monkeypatch.setattr(f_gan_table, "FIT_STEPS", 300)
    assert fit_gaussian("kl", 0) == pytest.approx(best_gaussian("kl"), abs=0.03)


def test_the_best_critics_slope_of_a_gradient_penalty_exceeds_one() -> None:
    """Between the two Gaussians the penalised points are spread evenly over 8: at a point where
    all of q and nothing of p is on one side, the slope is 1 + 8 / (2 * 10)."""
    assert best_gradient("WGAN-GP") == pytest.approx(1.4, abs=0.1)
    assert best_gradient("GAN (saturating)") == pytest.approx(8 * np.exp(-32), rel=0.02)
    assert best_gradient("GAN") == pytest.approx(8)


@pytest.mark.slow
def test_only_the_saturating_generator_loses_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saturation_table, "BATCH", 100)
    monkeypatch.setattr(saturation_table, "SATURATION_STEPS", 300)
    assert generator_gradient(FDivergence(saturating=True), 0) < 1e-3
    assert generator_gradient(FDivergence(), 0) > 0.3
    assert 0.3 < generator_gradient(Wasserstein(), 0) < 2
