"""Are the samples realistic, and do they cover the data? Balls around features say it.

Kynkaanniemi et al. 2019, section 2 (precision, recall); Naeem et al. 2020, section 3 (density,
coverage). Shapes: N real and M made images, F features.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from genae_core.config import require, require_positive_int
from genae_core.metrics.estimate import Estimate, mean_of

BLOCK = 1_000  # rows of a distance matrix at a time


class Quality(NamedTuple):
    """precision, recall, coverage: shares in [0, 1]; density: about 1 for real images."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def quality(real: Tensor, made: Tensor, neighbours: int = 5) -> Quality:
    """Of features [N, F] and [M, F], with balls B(x) that reach to the k-th nearest neighbour of
    x among its own kind:

    precision: made images in some real one's ball. recall: real images in some made one's ball.
    density: real balls around a made image, over k. coverage: real balls that hold a made image.

    The errors are of the mean over the images that are counted, the balls given. Raises
    ValueError where a side has no k other images.
    """
    require_positive_int(neighbours=neighbours)
    fewest = min(len(real), len(made))
    require(
        fewest > neighbours,
        f"balls to {neighbours} neighbours need at least {neighbours + 1} images of each side",
        images=fewest,
    )
    real_radius, made_radius = radii(real, neighbours), radii(made, neighbours)
    # Real balls around each made image.
    around = torch.zeros(len(made), dtype=torch.float64, device=made.device)
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for first in range(0, len(real), BLOCK):
        rows = slice(first, first + BLOCK)
        distance = torch.cdist(real[rows], made)
        inside = distance <= real_radius[rows, None]
        around += inside.sum(0)
        covered[rows] = inside.any(1)
        recalled[rows] = (distance <= made_radius).any(1)
    return Quality(
        precision=mean_of((around > 0).float()),
        recall=mean_of(recalled.float()),
        density=mean_of(around / neighbours),
        coverage=mean_of(covered.float()),
    )


def radii(features: Tensor, neighbours: int) -> Tensor:
    """The distance of each row [N, F] to its k-th nearest other one, [N]."""
    found = [
        # Itself is the nearest, at 0.
        torch.cdist(block, features).kthvalue(neighbours + 1, dim=1).values
        for block in torch.split(features, BLOCK)
    ]
    return torch.cat(found)
