import math

import pytest
import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.divergences.mmd import MMD
from genae_core.testing.divergence import DivergenceContract


class TestInverseMultiquadric(DivergenceContract):
    @pytest.fixture
    def divergence(self) -> MMD:
        return MMD()


class TestGaussianKernel(DivergenceContract):
    @pytest.fixture
    def divergence(self) -> MMD:
        return MMD(kernel="rbf", scales=(1.0, 4.0))


class TestRationalQuadraticKernel(DivergenceContract):
    @pytest.fixture
    def divergence(self) -> MMD:
        return MMD(kernel="rational_quadratic", scales=(0.2, 1.0, 5.0))


class TestRoot(DivergenceContract):
    @pytest.fixture
    def divergence(self) -> MMD:
        return MMD(kernel="rbf", estimator="biased", root=True)


def _kernel(mmd: MMD, a: list[float], b: list[float]) -> float:
    squared = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    total = 0.0
    for scale in mmd.scales:
        if mmd.kernel == "rational_quadratic":
            # E[exp(-t squared / (2 bandwidth^2))] with t ~ Gamma(s, s), in closed form.
            total += math.exp(-scale * math.log1p(squared / (2 * scale * mmd.bandwidth**2)))
            continue
        c = 2 * scale * len(a) * mmd.bandwidth**2
        total += c / (c + squared) if mmd.kernel == "imq" else math.exp(-squared / c)
    return total


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("kernel", ["imq", "rbf", "rational_quadratic"])
def test_it_is_its_sum_over_pairs(kernel: str, estimator: str) -> None:
    mmd = MMD(kernel=kernel, estimator=estimator, bandwidth=1.5)  # type: ignore[arg-type]
    a, b = Draw(0).normal((5, 3)).double(), Draw(1).normal((7, 3)).double() + 1
    lists = a.tolist(), b.tolist()

    def within(rows: list[list[float]]) -> float:
        values = [
            _kernel(mmd, x, y)
            for i, x in enumerate(rows)
            for j, y in enumerate(rows)
            if estimator == "biased" or i != j
        ]
        return sum(values) / len(values)

    across = sum(_kernel(mmd, x, y) for x in lists[0] for y in lists[1]) / 35
    wanted = within(lists[0]) + within(lists[1]) - 2 * across
    assert float(mmd.between(a, b)) == pytest.approx(wanted, rel=1e-9)


def test_the_distance_is_the_difference_of_the_witness() -> None:
    """MMD^2 = E_p[f] - E_q[f] for the witness f, with every pair counted."""
    mmd = MMD(kernel="rational_quadratic", scales=(0.5, 2.0), estimator="biased")
    a, b = Draw(0).normal((5, 3)).double(), Draw(1).normal((7, 3)).double() + 1
    mean = mmd.witness(a, a, b).mean() - mmd.witness(b, a, b).mean()
    assert float(mean) == pytest.approx(float(mmd.between(a, b)), rel=1e-9)
    assert mmd.witness(Draw(2).normal((4, 3)).double(), a, b).shape == (4,)


def test_the_unbiased_estimate_meets_the_closed_form() -> None:
    """With k = exp(-|a - b|^2 / C) and Gaussians, E[k] = (C / (C + 2 w))^(D/2)
    exp(-|m|^2 / (C + 2 w)) where a - b ~ N(m, w I)."""
    dim, shift, sd = 3, 0.7, 1.4
    mmd = MMD(kernel="rbf", scales=(0.5, 2.0))

    def expected(variance: float, distance: float) -> float:
        total = 0.0
        for scale in mmd.scales:
            c = 2 * scale * dim
            share = c / (c + 2 * variance)
            total += share ** (dim / 2) * math.exp(-distance / (c + 2 * variance))
        return total

    wanted = expected(2, 0) + expected(2 * sd**2, 0) - 2 * expected(1 + sd**2, dim * shift**2)
    values = []
    for block in range(40):
        a = Draw(0, block).normal((400, dim)).double()
        b = sd * Draw(1, block).normal((400, dim)).double() + shift
        values.append(float(mmd.between(a, b)))
    estimates = torch.tensor(values)
    assert abs(float(estimates.mean()) - wanted) < 5 * float(estimates.std()) / math.sqrt(40)
    assert wanted > 0.01


def test_the_unbiased_estimate_is_zero_on_average_and_the_biased_one_above() -> None:
    unbiased, biased = MMD(), MMD(estimator="biased")
    pairs = [(Draw(0, n).normal((50, 2)), Draw(1, n).normal((50, 2))) for n in range(60)]
    estimates = torch.tensor([float(unbiased.between(a, b)) for a, b in pairs])
    assert abs(float(estimates.mean())) < 5 * float(estimates.std()) / math.sqrt(60)
    assert estimates.min() < 0
    assert min(float(biased.between(a, b)) for a, b in pairs) > 0


def test_gradients_are_finite_at_equal_points() -> None:
    for mmd in (MMD(), MMD(kernel="rbf", estimator="biased", root=True)):
        codes = torch.zeros(4, 2, requires_grad=True)
        mmd.codes_loss(_unused, torch.zeros(4, 2), codes).backward()  # type: ignore[no-untyped-call]
        assert codes.grad is not None and codes.grad.isfinite().all()


def _unused(z: Tensor) -> Tensor:
    raise AssertionError("an MMD has no critic to ask")


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match='root needs estimator "biased"'):
        MMD(root=True)
    with pytest.raises(ValueError, match="scales must name at least one"):
        MMD(scales=())
    with pytest.raises(ValueError, match="must be > 0"):
        MMD(scales=(1.0, 0.0))
