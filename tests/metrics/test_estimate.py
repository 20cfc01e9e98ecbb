import math

import numpy as np
import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.metrics.estimate import blocks, jackknife, mean_of


def test_the_error_of_a_mean_is_its_spread_over_repeats() -> None:
    repeats = Draw(0).normal((2_000, 50)) * 3 + 1
    means = repeats.mean(1)
    errors = torch.tensor([mean_of(row).error for row in repeats])
    # The sd of 2,000 means is known to 1.6 %, the mean of the errors better; 5 of them.
    assert float(errors.mean()) == pytest.approx(float(means.std()), rel=0.08)
    assert math.isnan(mean_of(torch.tensor([2.0])).error)
    assert mean_of(torch.tensor([2.0])).value == 2


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    """Exactly, for blocks of equal size: sd of the block means / sqrt(G)."""
    blocks = np.random.default_rng(0).normal(size=(8, 20))
    without = [np.delete(blocks, g, 0).mean() for g in range(8)]
    found = jackknife(blocks.mean(), without)
    wanted = blocks.mean(1).std(ddof=1) / math.sqrt(8)
    assert found.value == blocks.mean()
    assert found.error == pytest.approx(wanted, rel=1e-12)
    assert math.isnan(jackknife(1.0, [1.0]).error)


def test_rows_that_depend_on_one_another_stay_together() -> None:
    rows = torch.arange(2_000.0)
    assert [len(a) for a, _ in blocks(rows, rows, "it")] == [400] * 5
    assert [len(a) for a, _ in blocks(rows, rows, "it", coupled=500)] == [500] * 4
    assert [len(a) for a, _ in blocks(rows, rows, "it", coupled=100)] == [400] * 5
    assert [len(a) for a, _ in blocks(rows, rows, "it", coupled=150)] == [300] * 6
    assert [len(a) for a, _ in blocks(rows, rows, "it", coupled=1_500)] == [400] * 5
