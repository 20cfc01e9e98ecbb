"""Precision, recall, density and coverage: are samples realistic, and do they cover the data?

Kynkaanniemi et al. 2019, sections 2 (precision, recall) and 5 (the realism of one image); Naeem
et al. 2020, section 3 (density, coverage). Shapes: N real and M generated images, F features.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from genae_core.config import require, require_positive_int
from genae_core.metrics.estimate import Estimate, mean_of

BLOCK = 1_000  # rows of a distance matrix at a time
# torch computes distances from products, which rounds those of equal rows to about 3e-4 of the
# rows' length. Distances below this fraction of it are computed again from differences.
NEAR = 3e-3
UNKNOWN = Estimate(math.nan, math.nan)


class PRDC(NamedTuple):
    """Precision, recall, density and coverage.

    Precision, recall and coverage are fractions in [0, 1]. Density is about 1 for real images.
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def measure_prdc(
    real: Tensor, generated: Tensor, neighbours: int = 5, real_radius: Tensor | None = None
) -> PRDC:
    """Measure precision, recall, density and coverage of generated images.

    The ball of an image reaches to its k-th nearest neighbour among the images of its own side.
    Precision is the fraction of generated images in the ball of a real one. Recall is the fraction
    of real images in the ball of a generated one. Density is the mean number of real balls around
    a generated image, divided by k. Coverage is the fraction of real balls that hold a generated
    image. The standard errors treat the balls as fixed.

    If the balls of all real images have radius 0, because each has k duplicates, they cannot tell
    samples apart. Precision, density and coverage are then NaN. If those of all generated images
    have radius 0, the recall is the fraction of real images that are equal to a generated one.

    Args:
        real: Features [N, F] of real images.
        generated: Features [M, F] of generated images.
        neighbours: k.
        real_radius: The radii of the balls of real images, [N], if they are known.

    Returns:
        The four metrics.

    Raises:
        ValueError: A side has no more than k images.
    """
    require_positive_int(neighbours=neighbours)
    fewest = min(len(real), len(generated))
    require(
        fewest > neighbours,
        f"balls to {neighbours} neighbours need at least {neighbours + 1} images of each side",
        images=fewest,
    )
    generated_radius = radii(generated, neighbours)
    if real_radius is None:
        real_radius = radii(real, neighbours)
    # The number of real balls around each generated image.
    around = torch.zeros(len(generated), dtype=torch.float64, device=generated.device)
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for first in range(0, len(real), BLOCK):
        rows = slice(first, first + BLOCK)
        distance = distances(real[rows], generated)
        inside = distance <= real_radius[rows, None]
        around += inside.sum(0)
        covered[rows] = inside.any(1)
        recalled[rows] = (distance <= generated_radius).any(1)
    if not (real_radius > 0).any():
        return PRDC(UNKNOWN, mean_of(recalled.float()), UNKNOWN, UNKNOWN)
    return PRDC(
        precision=mean_of((around > 0).float()),
        recall=mean_of(recalled.float()),
        density=mean_of(around / neighbours),
        coverage=mean_of(covered.float()),
    )


def realism_scores(real: Tensor, generated: Tensor, neighbours: int = 3) -> Tensor:
    """How deep each generated image lies in the ball of a real one.

    max_r |f_r - NN_k(f_r)| / |f_r - f_g|, over the real images r whose ball is not larger than the
    median ball: large balls would make everything in sparse regions realistic (Kynkaanniemi et al.
    2019, section 5).

    Args:
        real: Features f_r [N, F] of real images.
        generated: Features f_g [M, F] of generated images.
        neighbours: k; 3 is the paper's.

    Returns:
        The scores [M]: at least 1 inside a ball, and infinite on a real image whose ball has a
        radius above 0.

    Raises:
        ValueError: There are no more than k real images.
    """
    require_positive_int(neighbours=neighbours)
    require(
        len(real) > neighbours,
        f"balls to {neighbours} neighbours need at least {neighbours + 1} images",
        images=len(real),
    )
    radius = radii(real, neighbours)
    small = radius <= radius.median()
    scores = torch.zeros(len(generated), device=generated.device)
    for rows, limit in zip(
        torch.split(real[small], BLOCK), torch.split(radius[small], BLOCK), strict=True
    ):
        depth = limit[:, None] / distances(rows, generated)
        scores = torch.maximum(scores, depth.nan_to_num(nan=0.0, posinf=math.inf).amax(0))
    return scores


def radii(features: Tensor, neighbours: int) -> Tensor:
    """The distance of each row of [N, F] to its k-th nearest other row, [N]."""
    result = []
    for number, block in enumerate(torch.split(features, BLOCK)):
        itself = torch.arange(len(block)) + number * BLOCK
        nearest = distances(block, features, itself).topk(neighbours, dim=1, largest=False)
        result.append(nearest.values[:, -1].clone())  # `kthvalue` takes five times as long
    return torch.cat(result)


def distances(a: Tensor, b: Tensor, itself: Tensor | None = None) -> Tensor:
    """The distances [N, M] of the rows of [N, F] from those of [M, F]; equal rows have distance 0.

    itself: for each row of `a`, the row of `b` that is the same image, [N]. Its distance is
    infinite.
    """
    result = torch.cdist(a, b)
    rows = torch.arange(len(a))
    if itself is not None:
        result[rows, itself] = math.inf
    length = max(float(a.norm(dim=1).max()), float(b.norm(dim=1).max()))
    near = (result < NEAR * length).any(1)
    if near.any():
        result[near] = torch.cdist(a[near], b, compute_mode="donot_use_mm_for_euclid_dist")
        if itself is not None:
            result[rows, itself] = math.inf
    return result
