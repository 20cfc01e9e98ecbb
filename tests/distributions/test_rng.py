import math

import numpy as np
import pytest
import torch

from genae_core.distributions.rng import Draw


def test_seed_and_names_fix_the_stream() -> None:
    one = Draw(3, "chain", 5).normal((8,))
    assert torch.equal(one, Draw(3, "chain", 5).normal((8,)))
    others = [
        Draw(4, "chain", 5),
        Draw(3, "chain", 6),
        Draw(3, "other", 5),
        Draw(3, 5, "chain"),
        Draw(3, "chain", "5"),
        Draw(3, "chain"),
        Draw(3),
        Draw(-3, "chain", 5),
    ]
    drawn = torch.stack([one, *(other.normal((8,)) for other in others)])
    assert len(torch.unique(drawn, dim=0)) == len(drawn)


def test_a_stream_moves_on() -> None:
    draw = Draw(0)
    assert not torch.equal(draw.normal((8,)), draw.normal((8,)))


def test_neighbouring_streams_are_uncorrelated() -> None:
    n = 20_000
    drawn = torch.stack([Draw(0, "chain", index).normal((n,)) for index in range(6)]).double()
    off = torch.corrcoef(drawn) - torch.eye(6)
    # A correlation of n independent pairs has standard error 1 / sqrt(n); 5 of them.
    assert off.abs().max() < 5 / math.sqrt(n)


def test_the_distributions_of_draws() -> None:
    n, draw = 50_000, Draw(1)
    normal, uniform = draw.normal((n,)).double(), draw.uniform((n,)).double()
    mask = draw.mask((n,), 0.3)
    # 5 standard errors: of a mean sigma / sqrt(n); of a normal's variance sqrt(2 / n).
    bound = 5 / math.sqrt(n)
    assert abs(normal.mean()) < bound and abs(normal.var() - 1) < math.sqrt(2) * bound
    assert 0 <= uniform.min() and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < bound / math.sqrt(12)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert abs(mask.double().mean() - 0.3) < bound * math.sqrt(0.3 * 0.7)
    assert normal.shape == (n,) and mask.dtype == torch.float32


def test_a_mask_that_keeps_all_or_none() -> None:
    assert Draw(0).mask((100,), 1.0).min() == 1
    assert Draw(0).mask((100,), 0.0).max() == 0


def test_a_permutation_holds_every_index_once() -> None:
    draw = Draw(0)
    orders = [draw.permutation(50) for _ in range(2)]
    assert all(np.array_equal(np.sort(order.numpy()), np.arange(50)) for order in orders)
    assert not torch.equal(*orders) and not torch.equal(orders[0], torch.arange(50))


def test_nothing_is_drawn_from_the_global_state() -> None:
    state, draw = torch.get_rng_state(), Draw(0)
    draw.normal((3,)), draw.uniform((3,)), draw.mask((3,), 0.5), draw.permutation(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_as_global_is_seeded_by_the_stream_and_restores_the_state() -> None:
    def inside(draw: Draw) -> torch.Tensor:
        with draw.as_global():
            return torch.rand(4)

    state = torch.get_rng_state()
    draw = Draw(0)
    first, second = inside(draw), inside(draw)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, inside(Draw(0)))
    assert not torch.equal(first, second) and not torch.equal(first, inside(Draw(1)))
    torch.rand(3)  # what the global state was does not matter
    assert torch.equal(inside(Draw(0)), first)


def test_as_global_restores_the_state_after_an_error() -> None:
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="stop"), Draw(0).as_global():
        torch.rand(4)
        raise RuntimeError("stop")
    assert torch.equal(torch.get_rng_state(), state)
