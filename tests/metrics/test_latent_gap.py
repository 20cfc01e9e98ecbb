import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.metrics.latent_gap import measure_latent_gap


def test_of_one_law_the_mmd_is_zero_within_its_error() -> None:
    ratios = []
    for seed in range(30):
        gap = measure_latent_gap(
            Draw(seed, "a").normal((500, 3)), Draw(seed, "b").normal((500, 3))
        )
        ratios.append(gap.mmd.value / gap.mmd.error)
    assert 0.5 < float(torch.tensor(ratios).square().mean()) < 6


def test_the_sliced_distance_of_a_shift_and_of_a_stretch() -> None:
    """W2^2 along a line w: (w . m)^2 for a shift m, (s - 1)^2 for N(0, s^2) and N(0, 1); the mean
    of the first over all directions is |m|^2 / D."""
    a, b = Draw(0).normal((5_000, 4)), Draw(1).normal((5_000, 4))
    shift = torch.tensor([1.0, -2.0, 0.5, 0.0])
    distance = measure_latent_gap(a + shift, b).sliced_wasserstein
    assert distance.value == pytest.approx(float(shift.square().sum()) / 4, rel=0.15)
    stretched = measure_latent_gap(3 * a, b).sliced_wasserstein
    assert stretched.value == pytest.approx(4, rel=0.05)
    assert measure_latent_gap(a, b).sliced_wasserstein.value < 0.02


def test_it_grows_with_the_distance_in_units_of_the_law() -> None:
    """The kernel's width follows the law: the same picture at another scale has the same MMD."""
    a, b = Draw(0).normal((1_000, 2)), Draw(1).normal((1_000, 2))
    near, far = measure_latent_gap(a + 0.2, b).mmd, measure_latent_gap(a + 1, b).mmd
    assert 0 < near.value < far.value
    scaled = measure_latent_gap(50 * (a + 1), 50 * b).mmd
    assert scaled.value == pytest.approx(far.value, rel=1e-3)


def test_too_few_latents_are_refused() -> None:
    with pytest.raises(ValueError, match="needs at least 10 rows of each side, got rows=9"):
        measure_latent_gap(torch.zeros(9, 2), torch.zeros(9, 2))
