"""The distance of a chain's z from the aggregated posterior, or from the prior.

Shapes: N latent codes of each distribution, D latent dimension.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.divergences.mmd import MMD
from genae_core.metrics.estimate import Estimate, blocks, mean_of

DIRECTIONS = 100  # random lines of the sliced Wasserstein distance


class Gap(NamedTuple):
    """Two distances between distributions of latent codes.

    Attributes:
        mmd: MMD^2.
        sliced_wasserstein: The mean of W2^2 along random lines, in squared units of z.
    """

    mmd: Estimate
    sliced_wasserstein: Estimate


def measure_latent_gap(z: Tensor, other: Tensor, coupled: int = 1) -> Gap:
    """Measure the distance between two distributions of latent codes, block by block.

    MMD^2 is unbiased, with the inverse multi-quadratic kernels of Tolstikhin et al. 2018 at the
    scale of `other`. The sliced W2^2 (Bonneel et al. 2015, eq. 9) of two equal distributions is
    not 0, but about as large as between two sets of draws from one of them.

    Args:
        z: Codes [N, D] of one distribution.
        other: Codes [N, D] of the other distribution.
        coupled: The number of consecutive rows that depend on one another.

    Returns:
        Both distances: the means and standard errors over the blocks. The MMD is NaN if `other`
        is a single point, which has no scale.

    Raises:
        ValueError: A side has fewer than ten codes.
    """
    pairs = blocks(z, other, "a latent gap", coupled)
    scale = float(other.std(0).square().mean().sqrt())
    directions = Draw(0, "directions", device=z.device).normal((z.shape[1], DIRECTIONS))
    directions = directions / directions.norm(dim=0)
    sliced = []
    for a, b in pairs:
        difference = (a @ directions).sort(0).values - (b @ directions).sort(0).values
        sliced.append(difference.square().mean())
    if scale > 0:
        mmd = MMD(bandwidth=scale)
        gap = mean_of(torch.stack([mmd.between(a, b) for a, b in pairs]))
    else:
        gap = Estimate(math.nan, math.nan)
    return Gap(mmd=gap, sliced_wasserstein=mean_of(torch.stack(sliced)))
