"""Precision, recall, density and coverage: are samples realistic, and do they cover the data?

Kynkaanniemi et al. 2019, section 2 (precision, recall); Naeem et al. 2020, section 3 (density,
coverage). Shapes: N real and M generated images, F features.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from genae_core.config import require, require_positive_int
from genae_core.metrics.estimate import Estimate, mean_of

BLOCK = 1_000  # rows of a distance matrix at a time


class PRDC(NamedTuple):
    """Precision, recall, density and coverage.

    Precision, recall and coverage are fractions in [0, 1]. Density is about 1 for real images.
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def measure_prdc(real: Tensor, generated: Tensor, neighbours: int = 5) -> PRDC:
    """Measure precision, recall, density and coverage of generated images.

    The ball of an image reaches to its k-th nearest neighbour among the images of its own side.
    Precision is the fraction of generated images in the ball of a real one. Recall is the fraction
    of real images in the ball of a generated one. Density is the mean number of real balls around
    a generated image, divided by k. Coverage is the fraction of real balls that hold a generated
    image. The standard errors treat the balls as fixed.

    Args:
        real: Features [N, F] of real images.
        generated: Features [M, F] of generated images.
        neighbours: k.

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
    real_radius, generated_radius = radii(real, neighbours), radii(generated, neighbours)
    # The number of real balls around each generated image.
    around = torch.zeros(len(generated), dtype=torch.float64, device=generated.device)
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for first in range(0, len(real), BLOCK):
        rows = slice(first, first + BLOCK)
        distance = torch.cdist(real[rows], generated)
        inside = distance <= real_radius[rows, None]
        around += inside.sum(0)
        covered[rows] = inside.any(1)
        recalled[rows] = (distance <= generated_radius).any(1)
    return PRDC(
        precision=mean_of((around > 0).float()),
        recall=mean_of(recalled.float()),
        density=mean_of(around / neighbours),
        coverage=mean_of(covered.float()),
    )


def radii(features: Tensor, neighbours: int) -> Tensor:
    """The distance of each row of [N, F] to its k-th nearest other row, [N]."""
    distances = []
    for block in torch.split(features, BLOCK):
        # The smallest distance of a row is 0, to itself. It is skipped.
        distances.append(torch.cdist(block, features).kthvalue(neighbours + 1, dim=1).values)
    return torch.cat(distances)
