"""The uniform prior on a cube, p(z) = (2 a)^-D on [-a, a]^D and 0 elsewhere."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genae_core.config import register, require, require_finite
from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.priors.base import Host


class Uniform(nn.Module):
    """U[-a, a]^D. A Gaussian q always has mass outside of the cube, so KL(q || p) is infinite."""

    mean: Tensor
    full_support = False
    learned = False

    def __init__(self, latent_dim: int, half_width: float) -> None:
        super().__init__()
        self.half_width = half_width
        self.register_buffer("mean", torch.zeros(latent_dim), persistent=False)

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return self.half_width * (2 * draw.uniform((*sample_shape, *self.mean.shape)) - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        inside = (value.abs() <= self.half_width).all(1)
        height = -len(self.mean) * math.log(2 * self.half_width)
        return torch.where(inside, height, -math.inf)

    def kl(self, q: Normal, z: Tensor) -> Tensor:
        """Raise TypeError, because the KL divergence is infinite for every Gaussian q."""
        raise TypeError("KL(q || p) is infinite for a Gaussian q and a uniform p")


@register("prior.uniform")
@dataclass(frozen=True, kw_only=True)
class UniformPriorConfig:
    """The uniform prior on a cube.

    Args:
        half_width: a, half the side of the cube.

    Raises:
        ValueError: half_width is not a finite number > 0.
    """

    half_width: float = 2.0

    def __post_init__(self) -> None:
        require_finite(0, half_width=self.half_width)
        require(self.half_width > 0, "half_width must be > 0", half_width=self.half_width)

    def build(self, latent_dim: int, host: Host | None = None) -> Uniform:
        return Uniform(latent_dim, self.half_width)
