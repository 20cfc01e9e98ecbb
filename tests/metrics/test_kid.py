import importlib

import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.metrics.kid import kernel_distance, polynomial_mmd


def test_it_is_the_sum_over_pairs() -> None:
    a, b = Draw(0).normal((5, 3)).double(), Draw(1).normal((4, 3)).double() + 1

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return float((x @ y / 3 + 1) ** 3)

    within_a = sum(k(a[i], a[j]) for i in range(5) for j in range(5) if i != j) / 20
    within_b = sum(k(b[i], b[j]) for i in range(4) for j in range(4) if i != j) / 12
    across = sum(k(x, y) for x in a for y in b) / 20
    assert float(polynomial_mmd(a, b)) == pytest.approx(within_a + within_b - 2 * across, rel=1e-9)


def test_it_agrees_with_torchmetrics() -> None:
    """A second implementation, a test extra alone: its import needs torchvision whole."""
    from genae_core.data.torchvision_import import torchvision_datasets

    torchvision_datasets()
    kid = importlib.import_module("torchmetrics.image.kid")
    a, b = Draw(0).normal((300, 16)).double(), 0.8 * Draw(1).normal((300, 16)).double() + 0.3
    assert float(polynomial_mmd(a, b)) == pytest.approx(float(kid.poly_mmd(a, b)), rel=1e-6)


def test_of_one_law_it_is_zero_within_its_error_and_of_two_it_is_not() -> None:
    """Over 40 repeats the errors are those of the values: their root mean square ratio is 1."""
    ratios = []
    for seed in range(40):
        a, b = Draw(seed, "a").normal((1_000, 8)), Draw(seed, "b").normal((1_000, 8))
        found = kernel_distance(a, b)
        ratios.append(found.value / found.error)
    # t with 4 degrees of freedom: variance 2, and 40 of them.
    assert 0.8 < float(torch.tensor(ratios).square().mean()) < 5
    moved = kernel_distance(a, b + 0.5)
    assert moved.value > 10 * moved.error > 0


def test_it_does_not_depend_on_the_number_of_images() -> None:
    few = [
        kernel_distance(Draw(s, "a").normal((100, 4)), Draw(s, "b").normal((100, 4)) + 1).value
        for s in range(30)
    ]
    many = kernel_distance(Draw(0).normal((20_000, 4)), Draw(1).normal((20_000, 4)) + 1)
    spread = torch.tensor(few).std() / 30**0.5
    assert abs(float(torch.tensor(few).mean()) - many.value) < 4 * float(spread)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="needs at least 10 rows of each side, got rows=9"):
        kernel_distance(torch.zeros(9, 3), torch.zeros(20, 3))
