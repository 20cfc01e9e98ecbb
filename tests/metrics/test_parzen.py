import math

import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.metrics.parzen import choose_bandwidth, log_densities, log_likelihood


def test_one_sample_is_one_gaussian() -> None:
    x, s = Draw(0).normal((5, 3)), Draw(1).normal((1, 3))
    found = log_densities([s], x, [0.3, 1.7])
    for row, sigma in enumerate((0.3, 1.7)):
        wanted = torch.distributions.Normal(s.double(), sigma).log_prob(x.double()).sum(1)
        torch.testing.assert_close(found[row], wanted, rtol=1e-5, atol=1e-5)


def test_it_is_its_definition_in_any_pieces() -> None:
    x, s = Draw(0).uniform((7, 4)), Draw(1).uniform((2_500, 4))
    each = torch.distributions.Normal(s.double()[None], 0.2).log_prob(x.double()[:, None]).sum(2)
    wanted = each.logsumexp(1) - math.log(2_500)
    for blocks in ([s], s.split(3), s.split(1_001)):
        found = log_densities(blocks, x, [0.2])[0]
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_case_with_a_known_answer() -> None:
    """Samples of N(0, s^2 I) and a window of sigma give N(0, (s^2 + sigma^2) I) as N grows, and
    images of N(0, s^2 I) have a mean log-likelihood of -D/2 (log 2 pi v + s^2 / v) under it."""
    dim, s, sigma, n = 2, 0.7, 0.4, 200_000
    samples, x = s * Draw(0).normal((n, dim)), s * Draw(1).normal((20_000, dim))
    found = log_likelihood(samples.split(50_000), x[:2_000], sigma)
    v = s**2 + sigma**2
    wanted = -0.5 * dim * (math.log(2 * math.pi * v) + s**2 / v)
    assert abs(found.mean - wanted) < 5 * found.error
    assert 0.005 < found.error < 0.05


def test_the_bandwidth_is_the_likeliest() -> None:
    """Between samples of one law, neither the narrowest nor the widest."""
    samples, held_out = Draw(0).normal((2_000, 2)), Draw(1).normal((2_000, 2))
    bandwidths = (0.01, 0.1, 0.3, 1.0, 3.0)
    chosen = choose_bandwidth(samples, held_out, bandwidths)
    means = log_densities([samples], held_out, bandwidths).mean(1)
    assert chosen == 0.3 == bandwidths[int(means.argmax())]


def test_bad_input_is_refused() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="needs samples"):
        log_densities([], x, [0.1])
    with pytest.raises(ValueError, match="bandwidths must be > 0"):
        log_densities([x], x, [0.0])
