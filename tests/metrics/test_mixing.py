import math

import numpy as np
import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.metrics.mixing import (
    measure_mixing,
    measure_transitions,
    nested_rhat,
    posterior_sd,
)


def _autoregressive(rho: float, steps: int, chains: int) -> torch.Tensor:
    """z' = rho z + sqrt(1 - rho^2) eps, stationary N(0, 1): [T, B, 1]."""
    z = Draw(0).normal((chains, 1))
    draw, found = Draw(1), []
    for _ in range(steps):
        found.append(z)
        z = rho * z + math.sqrt(1 - rho**2) * draw.normal((chains, 1))
    return torch.stack(found)


def test_of_a_stationary_chain() -> None:
    """AR(1) has the autocorrelation time (1 + rho) / (1 - rho)."""
    found = measure_mixing(_autoregressive(0.8, 1_000, 32))
    assert found.rhat[0] < 1.01
    assert found.autocorrelation_time[0] == pytest.approx(1.8 / 0.2, rel=0.1)
    assert found.ess[0] == pytest.approx(32_000 / 9, rel=0.1)


def test_chains_that_disagree_have_a_large_r_hat() -> None:
    z = Draw(0).normal((100, 8, 2))
    z[:, :4, 1] += 3
    found = measure_mixing(z)
    assert found.rhat[0] < 1.05 < 1.5 < found.rhat[1]


def test_a_dimension_that_never_moves_has_no_r_hat() -> None:
    z = torch.cat([Draw(0).normal((50, 4, 1)), torch.ones(50, 4, 1)], 2)
    found = measure_mixing(z)
    assert np.isfinite(found.rhat[0]) and np.isnan(found.rhat[1]) and np.isnan(found.ess[1])


@pytest.mark.parametrize("memory", [0.9, 0.6, 0.0])
def test_the_nested_r_hat_says_how_much_of_the_start_is_left(memory: float) -> None:
    """sqrt(1 + 1/M + m^2 var(z0) / (1 - m^2)) for z = m z0 + sqrt(1 - m^2) eps."""
    starts, chains = 200, 100
    z0 = Draw(0).normal((starts, 1, 1))
    eps = Draw(1).normal((starts, chains, 1))
    z = memory * z0 + math.sqrt(1 - memory**2) * eps
    between = memory**2 * float(z0.var()) / (1 - memory**2)
    # The variance of the means of 200 superchains has a standard error of a tenth of itself.
    expected = math.sqrt(1 + 1 / chains + between)
    assert nested_rhat(z)[0] == pytest.approx(expected, rel=0.05)


def test_the_nested_r_hat_of_chains_that_do_not_move_is_infinite() -> None:
    z = Draw(0).normal((5, 1, 2)).expand(5, 4, 2).clone()
    z[..., 1] = 1.0
    rhat = nested_rhat(z)
    assert rhat[0] == math.inf and np.isnan(rhat[1])
    with pytest.raises(ValueError, match="at least 2 superchains, got superchains=1"):
        nested_rhat(z[:1])
    with pytest.raises(ValueError, match="at least 2 chains of one start, got chains=1"):
        nested_rhat(z[:, :1])


def test_transitions_are_counted() -> None:
    classes = np.array([[0, 1, 2], [0, 2, 2], [1, 2, 0]])
    found = measure_transitions(classes, 4)
    # 0 -> 0, 0 -> 1; 1 -> 2; 2 -> 2, 2 -> 2, 2 -> 0.
    wanted = np.zeros((4, 4))
    wanted[0, :2], wanted[1, 2], wanted[2, [0, 2]] = 0.5, 1, (1 / 3, 2 / 3)
    np.testing.assert_allclose(found.matrix, wanted)
    assert found.stay == pytest.approx(3 / 6)
    assert found.entropy == pytest.approx(math.log(3))
    collapsed = measure_transitions(np.array([[0, 1, 2], [1, 1, 1]]), 3)
    assert collapsed.entropy == 0


def test_the_sd_of_the_posterior() -> None:
    sd = torch.tensor([0.1, 2.0])
    samples = Draw(2).normal((1, 50, 2)) * 5 + sd * Draw(3).normal((400, 50, 2))
    torch.testing.assert_close(posterior_sd(samples).float(), sd, rtol=0.02, atol=0)
    assert float(posterior_sd(torch.ones(3, 5, 2)).abs().max()) == 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="R-hat needs at least 4 steps of each chain"):
        measure_mixing(torch.zeros(3, 5, 2))
    with pytest.raises(ValueError, match="R-hat needs at least 2 chains"):
        measure_mixing(torch.zeros(8, 1, 2))
    with pytest.raises(ValueError, match="at least 2 steps"):
        measure_transitions(np.zeros((1, 5), np.int64), 3)
    with pytest.raises(ValueError, match=r"classes must be 0 ... 2, got unknown=3"):
        measure_transitions(np.array([[0], [3]]), 3)
    with pytest.raises(ValueError, match="at least 2 samples"):
        posterior_sd(torch.zeros(1, 4, 2))
