"""Statistics of degenerate samples: the right value, or NaN where there is none."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.metrics.estimate import blocks, jackknife, mean_of
from genae_core.metrics.fcd import Gaussian, floor_distance, frechet_distance, frechet_estimate
from genae_core.metrics.kid import kernel_distance
from genae_core.metrics.latent_gap import measure_latent_gap
from genae_core.metrics.mixing import measure_mixing, measure_transitions
from genae_core.metrics.parzen import choose_bandwidth, log_densities, log_likelihood
from genae_core.metrics.precision_recall import measure_prdc, radii

N, F = 60, 8
NORMAL, OTHER = Draw(0).normal((N, F)), Draw(1).normal((N, F))
POINT, FAR = torch.full((N, F), 0.3), torch.full((N, F), 5.0)
ZERO = torch.zeros(N, F)
NAN = math.nan


def gaussian(features: Tensor) -> Gaussian:
    result = Gaussian(features.shape[1])
    result.update(features)
    return result


def fcd(a: Tensor, b: Tensor) -> float:
    return frechet_distance(gaussian(a), gaussian(b))


def fcd_error(*samples: Tensor) -> float:
    return frechet_estimate([gaussian(part) for part in samples], gaussian(NORMAL)).error


def floor(a: Tensor, b: Tensor) -> float:
    return floor_distance(gaussian(a), gaussian(b))


def moment(features: Tensor) -> float:
    """The squared distance of the mean from POINT, plus the trace of the covariance."""
    x = features.double()
    return float((x.mean(0) - POINT[0].double()).square().sum() + x.var(0).sum())


def prdc(real: Tensor, generated: Tensor) -> list[float]:
    return [estimate.value for estimate in measure_prdc(real, generated)]


def mixing(z: Tensor) -> list[float]:
    return [float(values[0]) for values in measure_mixing(z)]


AT_CENTRE = -F / 2 * math.log(2 * math.pi * 0.5**2)  # the log-density of N(0, 0.5^2 I) at 0
STILL = torch.ones(20, 6, 1)
STUCK = torch.arange(6.0).reshape(1, 6, 1).expand(20, 6, 1)

CASES: list[tuple[str, Callable[[], object], object]] = [
    ("FCD of equal points", lambda: fcd(POINT, POINT), 0),
    ("FCD of two points", lambda: fcd(POINT, FAR), F * 4.7**2),
    ("FCD of a point", lambda: fcd(POINT, NORMAL), moment(NORMAL)),
    ("FCD to a point", lambda: fcd(NORMAL, POINT), moment(NORMAL)),
    ("FCD of fewer samples than features", lambda: fcd(NORMAL[:3], NORMAL[:3]), 0),
    ("FCD of dead features", lambda: fcd(ZERO, ZERO), 0),
    ("floor of the same images", lambda: floor(NORMAL, NORMAL), 0),
    ("floor of a rounding error", lambda: floor(1e6 + NORMAL, 1e6 + NORMAL), 0),
    ("floor of other images", lambda: floor(NORMAL, OTHER), fcd(NORMAL, OTHER)),
    ("FCD's error of one block", lambda: fcd_error(OTHER), NAN),
    ("FCD's error of equal blocks", lambda: fcd_error(POINT, POINT, POINT), 0),
    ("KID of equal points", lambda: kernel_distance(POINT, POINT).value, 0),
    ("KID of dead features", lambda: kernel_distance(ZERO, ZERO).value, 0),
    ("error of one value", lambda: mean_of(torch.tensor([2.0])), (2.0, NAN)),
    ("error of equal values", lambda: mean_of(torch.ones(5)), (1.0, 0.0)),
    ("jackknife of one block", lambda: jackknife(1.0, [1.0]), (1.0, NAN)),
    ("blocks of coupled rows", lambda: len(blocks(NORMAL, OTHER, "it", coupled=N)), 5),
    # precision, recall, density, coverage
    ("samples that are one point", lambda: prdc(NORMAL, FAR), [0, 0, 0, 0]),
    ("real images that are one point", lambda: prdc(FAR, NORMAL), [NAN, 0, NAN, NAN]),
    ("both the same point", lambda: prdc(POINT, POINT), [NAN, 1, NAN, NAN]),
    ("both dead", lambda: prdc(ZERO, ZERO), [NAN, 1, NAN, NAN]),
    ("two points", lambda: prdc(POINT, FAR), [NAN, 0, NAN, NAN]),
    (
        "half of both are duplicates",
        lambda: prdc(torch.cat([NORMAL, POINT]), torch.cat([NORMAL + 1e4, POINT]))[:2],
        [0.5, 0.5],
    ),
    ("radii of duplicates", lambda: radii(torch.cat([NORMAL, NORMAL]) + 9, 1).max().item(), 0),
    # Parzen windows
    ("window on one point", lambda: log_likelihood([ZERO], ZERO, 0.5), (AT_CENTRE, 0.0)),
    ("its bandwidth is the narrowest", lambda: choose_bandwidth(POINT, POINT, (0.05, 0.1)), 0.05),
    ("one image has no error", lambda: log_likelihood([NORMAL], OTHER[:1], 0.5).error, NAN),
    # latent gaps
    ("codes that are one point, MMD", lambda: measure_latent_gap(NORMAL, POINT).mmd, (NAN, NAN)),
    ("the same point", lambda: measure_latent_gap(POINT, POINT).sliced_wasserstein, (0.0, 0.0)),
    ("chains that are one point", lambda: measure_latent_gap(POINT, NORMAL).mmd.value > 0, True),
    # R-hat, effective sample size, autocorrelation time
    ("chains that never differ", lambda: mixing(STILL), [NAN, NAN, NAN]),
    ("chains that stay where they began", lambda: mixing(STUCK), [math.inf, NAN, NAN]),
    ("one class", lambda: measure_transitions(np.zeros((3, 4), np.int64), 2)[1:], (1.0, 0.0)),
]


@pytest.mark.parametrize(
    ("value", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_degenerate_statistic(value: Callable[[], object], wanted: object) -> None:
    # The root of a float64 product is right to about 1e-8 of the features' squares.
    assert value() == pytest.approx(wanted, rel=1e-5, abs=1e-6, nan_ok=True)


def test_a_chain_that_moves_beside_chains_that_do_not_has_an_r_hat() -> None:
    z = STUCK.clone()
    z[:, 0] = Draw(0).normal((20, 1))
    rhat, ess, _ = mixing(z)
    assert rhat > 1.5 and ess > 0


def test_features_beyond_the_range_of_their_squares_are_named() -> None:
    huge = NORMAL.double() * 1e200
    with pytest.raises(FloatingPointError, match="variance of the classifier's features"):
        gaussian(huge)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.inf, math.nan])
def test_a_window_without_a_width_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="bandwidths must be > 0 and finite"):
        log_densities([NORMAL], OTHER, [sigma])


def test_a_window_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="needs images"):
        log_densities([NORMAL], OTHER[:0], [0.5])


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_distances_of_separate_images_keep_their_bits(scale: float) -> None:
    """Without near duplicates, the radii are those of torch's distances, bit for bit."""
    features = scale * (Draw(2).normal((200, F)) + 3)
    plain = torch.cdist(features, features).kthvalue(6, dim=1).values
    assert torch.equal(radii(features, 5), plain)
