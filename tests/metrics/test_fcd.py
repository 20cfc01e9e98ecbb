import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from genae_core.distributions.rng import Draw
from genae_core.metrics.fcd import Gaussian, frechet_distance, frechet_estimate, frechet_jackknife

F = 6


def _gaussian(features: torch.Tensor, batch: int | None = None) -> Gaussian:
    gaussian = Gaussian(features.shape[1])
    for part in features.split(batch or len(features)):
        gaussian.update(part)
    return gaussian


def _of(mean: NDArray[np.float64], root: NDArray[np.float64]) -> Gaussian:
    """The Gaussian whose two moments are exactly `mean` and root root^T, up to rounding: its
    features are mean +- sqrt((2F - 1) / 2) times each column of the root."""
    size = len(mean)
    spread = math.sqrt((2 * size - 1) / 2) * root.T
    return _gaussian(torch.from_numpy(np.concatenate([mean + spread, mean - spread])))


def _random(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    source = np.random.default_rng(seed)
    return source.normal(size=F), source.normal(size=(F, F))


def test_the_construction_of_this_file_has_the_moments_it_says() -> None:
    mean, root = _random(0)
    gaussian = _of(mean, root)
    np.testing.assert_allclose(gaussian.mean, mean, atol=1e-12)
    np.testing.assert_allclose(gaussian.covariance, root @ root.T, atol=1e-12)


def test_the_distance_to_itself_is_zero() -> None:
    gaussian = _gaussian(Draw(0).normal((100, F)))
    # The root of a float64 product of order 1 is right to about 1e-8 at worst.
    assert 0 <= frechet_distance(gaussian, gaussian) < 1e-7


def test_it_is_symmetric_and_not_negative() -> None:
    for seed in range(5):
        p, q = _of(*_random(seed)), _of(*_random(seed + 10))
        there, back = frechet_distance(p, q), frechet_distance(q, p)
        assert there > 0
        assert there == pytest.approx(back, rel=1e-9)


def test_a_shift_costs_its_squared_length() -> None:
    mean, root = _random(0)
    shift = np.arange(F) - 2.0
    found = frechet_distance(_of(mean, root), _of(mean + shift, root))
    assert found == pytest.approx(float(shift @ shift), abs=1e-7)


def test_diagonal_covariances_cost_the_squared_difference_of_the_deviations() -> None:
    a, b = np.arange(1.0, F + 1), np.array([4.0, 0.0, 1.0, 9.0, 0.25, 6.0])
    zero = np.zeros(F)
    found = frechet_distance(_of(zero, np.diag(np.sqrt(a))), _of(zero, np.diag(np.sqrt(b))))
    assert found == pytest.approx(float(((np.sqrt(a) - np.sqrt(b)) ** 2).sum()), abs=1e-7)


def test_random_covariances_against_scipy() -> None:
    for seed in range(5):
        (mean_p, p), (mean_q, q) = _random(seed), _random(seed + 10)
        covariance_p, covariance_q = p @ p.T, q @ q.T
        root = np.real(sqrtm(covariance_p @ covariance_q))
        wanted = ((mean_p - mean_q) ** 2).sum()
        wanted += np.trace(covariance_p + covariance_q - 2 * root)
        found = frechet_distance(_of(mean_p, p), _of(mean_q, q))
        # scipy's root of a product that is not symmetric keeps about half of float64's digits.
        assert found == pytest.approx(float(wanted), rel=1e-6)


def test_singular_covariances_are_taken() -> None:
    """Fewer images than features: the roots of eigenvalues that are zero."""
    p, q = (_gaussian(Draw(seed).normal((3, F))) for seed in (0, 1))
    assert math.isfinite(frechet_distance(p, q)) and frechet_distance(p, q) > 0
    assert frechet_distance(p, p) < 1e-7


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_streaming_equals_all_at_once(batch: int, offset: float) -> None:
    features = Draw(0).normal((100, F)).double() * torch.arange(1, F + 1) + offset
    gaussian = _gaussian(features, batch)
    assert gaussian.count == 100
    # Float64 rounds a feature near 1e6 to 1e-10, and the sums over 100 of them to no worse than
    # 1e-8; squaring before subtracting would leave errors near 1e12 * 1e-16 * 100 = 1e-2.
    np.testing.assert_allclose(gaussian.mean, features.numpy().mean(0), rtol=1e-14, atol=1e-12)
    np.testing.assert_allclose(
        gaussian.covariance, np.cov(features.numpy(), rowvar=False), rtol=0, atol=1e-7
    )


def test_memory_does_not_grow() -> None:
    gaussian = Gaussian(F)

    def sizes() -> dict[str, tuple[int, ...]]:
        return {name: np.shape(value) for name, value in vars(gaussian).items()}

    empty = sizes()
    for seed in range(3):
        gaussian.update(Draw(seed).normal((50, F)))
        assert sizes() == empty


def test_float32_features_are_summed_in_float64() -> None:
    gaussian = _gaussian(Draw(0).normal((10, F)))
    assert gaussian.mean.dtype == gaussian.covariance.dtype == np.float64


def test_an_empty_batch_changes_nothing() -> None:
    gaussian = _gaussian(Draw(0).normal((10, F)))
    before = gaussian.covariance.copy()
    gaussian.update(torch.zeros(0, F))
    assert gaussian.count == 10
    np.testing.assert_array_equal(gaussian.covariance, before)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    features = Draw(0).normal((10, F))
    features[3, 2] = value
    with pytest.raises(FloatingPointError, match="not finite"):
        Gaussian(F).update(features)


@pytest.mark.parametrize("count", [0, 1])
def test_a_covariance_needs_two_images(count: int) -> None:
    gaussian = _gaussian(Draw(0).normal((count, F))) if count else Gaussian(F)
    with pytest.raises(ValueError, match=f"at least 2 images, got count={count}"):
        _ = gaussian.covariance
    with pytest.raises(ValueError, match="at least 2 images"):
        frechet_distance(gaussian, _gaussian(Draw(0).normal((10, F))))


def test_moments_are_merged_and_taken_apart_again() -> None:
    a, b = Draw(0).normal((40, 3)) + 5, 2 * Draw(1).normal((25, 3))
    one, other, both = Gaussian(3), Gaussian(3), Gaussian(3)
    one.update(a)
    other.update(b)
    both.update(torch.cat([a, b]))
    for found, wanted in ((one.merge(other), both), (both.merge(other, -1), one)):
        assert found.count == wanted.count
        np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.covariance, wanted.covariance, rtol=1e-9, atol=1e-9)
    assert one.merge(Gaussian(3)).count == 40 and one.merge(one, -1).count == 0


def test_the_error_of_a_distance_is_its_spread_over_repeats() -> None:
    """The jackknife's error beside the standard deviation of 60 fresh samples' distances."""
    real = Gaussian(4)
    real.update(Draw(0, "real").normal((2_000, 4)))
    values, errors = [], []
    for seed in range(60):
        blocks = [Gaussian(4) for _ in range(10)]
        made = 1.5 * Draw(seed, "made").normal((1_000, 4)) + 0.5
        for block, part in zip(blocks, made.split(100), strict=True):
            block.update(part)
        whole = Gaussian(4)
        whole.update(made)
        found = frechet_estimate(blocks, real)
        assert found.value == pytest.approx(frechet_distance(whole, real), rel=1e-9)
        values.append(found.value)
        errors.append(found.error)
    # A deviation from 60 values is known to 9 %, a jackknife of ten blocks to about 25 %, their
    # mean over 60 to a few per cent.
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.35)


def test_the_error_of_a_difference_is_its_spread_over_repeats_of_the_same_chains() -> None:
    """What two steps of a chain share cancels: its error is far below that of either distance."""
    real = Gaussian(4)
    real.update(Draw(0, "real").normal((2_000, 4)))
    values, errors, alone = [], [], []
    for seed in range(60):
        start = 1.5 * Draw(seed, "made").normal((1_000, 4)) + 0.5
        later = start + 0.1 * Draw(seed, "step").normal((1_000, 4)) - 0.05
        steps = []
        for made in (start, later):
            blocks = [_gaussian(part) for part in made.split(100)]
            steps.append(frechet_jackknife(blocks, real))
        change = steps[1].minus(steps[0])
        assert change.value == pytest.approx(steps[1].value - steps[0].value, rel=1e-12)
        assert steps[0].minus(steps[0]).error == 0
        values.append(change.value)
        errors.append(change.error)
        alone.append(steps[1].estimate().error)
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.35)
    assert np.mean(errors) < 0.5 * np.mean(alone)


@pytest.mark.parametrize(
    ("sizes", "used"),
    [((100,) * 5, 500), ((200, 200, 200, 80), 600), ((100, 40), None), ((99, 100, 101), 300)],
)
def test_blocks_of_other_sizes_are_no_part_of_the_error(
    sizes: tuple[int, ...], used: int | None
) -> None:
    """The distance of fewer images is larger: what a small block leaves would look spread."""
    real = _gaussian(Draw(0).normal((2_000, 8)))
    values, errors = [], []
    for repeat in range(60):
        draw = Draw(repeat, "made")
        found = frechet_estimate([_gaussian(draw.normal((n, 8)) + 0.5) for n in sizes], real)
        values.append(found.value)
        errors.append(found.error)
    if used is None:
        assert all(math.isnan(error) for error in errors)
    else:
        assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.35)
