"""Points between encoded images, from which a chain can start (Creswell et al. 2017, figure 2;
figures 5, 6 and 8 of its supplement).

Shapes: N pairs, P points, C channels, H rows, W columns, D latent dimension.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from genae_core.config import require, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.nets.base import sampling_mode
from genae_core.samplers.base import check_images

Kind = Literal["linear", "spherical"]


def interpolate(
    model: Any, images: Tensor, points: int, draw: Draw, kind: Kind = "linear"
) -> Tensor:
    """Interpolate between the encodings of pairs of images.

    The images are corrupted and encoded as in the chain. Batch normalisation uses its running
    averages, because the pairs are not a batch of random images.
    `run_chain(..., start=z.flatten(0, 1))` runs a chain from every point.

    Args:
        model: An nn.Module that is `Sampleable`.
        images: The first images of all pairs, then their second images, [2, N, C, H, W].
        points: P >= 2, the number of points of a pair, with both ends.
        draw: The source of randomness.
        kind: "linear" or "spherical".

    Returns:
        The points z [N, P, D], from the first image of each pair to the second.

    Raises:
        ValueError: The images have another shape, there are fewer than two points, or the kind is
            not one of these.
    """
    require(
        images.ndim == 5 and len(images) == 2,
        "images must be pairs, [2, N, C, H, W]",
        shape=tuple(images.shape),
    )
    require_positive_int(points=points)
    require(points >= 2, "points must be >= 2, with both ends", points=points)
    require(kind in ("linear", "spherical"), 'kind must be "linear" or "spherical"', kind=kind)
    with sampling_mode(model, "running"):
        check_images(model, images)
        first, second = (model.encode(model.corrupt(x, draw)).sample(draw) for x in images)
    t = torch.linspace(0, 1, points, device=first.device)[:, None]
    between = lerp if kind == "linear" else slerp
    return between(first[:, None], second[:, None], t)


def lerp(first: Tensor, second: Tensor, t: Tensor) -> Tensor:
    """(1 - t) z_1 + t z_2."""
    return torch.lerp(first, second, t)


def slerp(first: Tensor, second: Tensor, t: Tensor) -> Tensor:
    """(sin((1 - t) a) z_1 + sin(t a) z_2) / sin a, where a is the angle between z_1 and z_2 (White
    2016, section 2.1).

    If z_1 and z_2 point in the same direction or in opposite ones, it is a straight line.
    """
    cosine = torch.cosine_similarity(first, second, dim=-1)[..., None].clamp(-1, 1)
    angle = cosine.acos()
    straight = (angle < 1e-4) | (angle > math.pi - 1e-4)
    safe = torch.where(straight, torch.ones_like(angle), angle)
    weighted = ((1 - t) * safe).sin() * first + (t * safe).sin() * second
    return torch.where(straight, lerp(first, second, t), weighted / safe.sin())
