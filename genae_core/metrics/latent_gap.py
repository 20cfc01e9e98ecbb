"""How far the chain's z is from the aggregated posterior, or from the prior.

Shapes: N latents of each law, D latent dimension.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from genae_core.config import require
from genae_core.distributions.rng import Draw
from genae_core.divergences.mmd import MMD
from genae_core.metrics.estimate import Estimate, blocks, mean_of

DIRECTIONS = 100  # of the slices


class Gap(NamedTuple):
    """mmd: MMD^2 of both laws. sliced_wasserstein: the mean squared W2 along random lines, in
    squared units of z."""

    mmd: Estimate
    sliced_wasserstein: Estimate


def measure_latent_gap(z: Tensor, other: Tensor, coupled: int = 1) -> Gap:
    """Of latents [N, D] and as many of another law, the mean over disjoint blocks.

    MMD^2 is unbiased, with the inverse multi-quadratic kernels of Tolstikhin et al. 2018 at the
    scale of `other`; the sliced W2^2 (Bonneel et al. 2015, eq. 9) is above 0 also for one law, by
    about the value that two draws of it give. coupled: see `blocks`, which raises ValueError.
    """
    pairs = blocks(z, other, "a latent gap", coupled)
    scale = float(other.std(0).square().mean().sqrt())
    require(scale > 0, "the other law must not be a point", standard_deviation=scale)
    mmd = MMD(bandwidth=scale)
    ways = Draw(0, "directions", device=z.device).normal((z.shape[1], DIRECTIONS))
    ways = ways / ways.norm(dim=0)
    lines = [((a @ ways).sort(0).values, (b @ ways).sort(0).values) for a, b in pairs]
    return Gap(
        mmd=mean_of(torch.stack([mmd.between(a, b) for a, b in pairs])),
        sliced_wasserstein=mean_of(torch.stack([(a - b).square().mean() for a, b in lines])),
    )
