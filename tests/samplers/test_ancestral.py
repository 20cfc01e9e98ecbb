import math

import torch

from genae_core.distributions.rng import Draw
from genae_core.nets.base import sampling_mode
from genae_core.samplers.ancestral import Ancestral
from genae_core.testing.sampler import SamplerContract
from genae_core.testing.toys import Toy


class TestAncestral(SamplerContract):
    sampler = Ancestral()


def test_every_step_is_a_fresh_independent_draw_of_the_prior() -> None:
    model, n, draw = Toy(), 20_000, Draw(0)
    with sampling_mode(model, "running"):
        first = Ancestral().init(model, n, draw)
        second = Ancestral().step(model, first, draw)
    both = torch.cat([first.z, second.z], dim=1).double()
    # n independent unit Gaussians: an off-diagonal covariance has standard error 1 / sqrt(n), a
    # variance sqrt(2 / n), a mean 1 / sqrt(n); 5 of the largest.
    bound = 5 * math.sqrt(2 / n)
    assert (torch.cov(both.T) - torch.eye(4)).abs().max() < bound
    assert both.mean(0).abs().max() < bound
