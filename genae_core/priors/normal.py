"""The isotropic Gaussian prior, p(z) = N(0, sd^2 I) (Creswell et al. 2017, section 4.1)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genae_core.config import register, require, require_finite
from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.priors.base import Host


class IsotropicNormal(nn.Module):
    """N(0, sd^2 I) over z [D].

    Args:
        latent_dim: D.
        sd: The standard deviation.
    """

    mean: Tensor
    full_support = True
    learned = False

    def __init__(self, latent_dim: int, sd: float = 1.0) -> None:
        super().__init__()
        self.sd = sd
        self.register_buffer("mean", torch.zeros(latent_dim), persistent=False)

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return self.sd * draw.normal((*sample_shape, *self.mean.shape))

    def log_prob(self, value: Tensor) -> Tensor:
        scaled = (value / self.sd).square() + math.log(2 * math.pi) + 2 * math.log(self.sd)
        return -0.5 * scaled.sum(1)

    def kl(self, q: Normal, z: Tensor) -> Tensor:
        """KL(q || p) = 1/2 sum_d ((mu^2 + sigma^2) / sd^2 - log (sigma^2 / sd^2) - 1), [B], nats
        (Creswell et al. 2017, section 2.1, for sd = 1 and summed over the batch)."""
        variance = self.sd**2
        squares = (q.mean.square() + q.log_var.exp()) / variance
        return 0.5 * (squares - q.log_var + math.log(variance) - 1).sum(1)


@register("prior.normal")
@dataclass(frozen=True, kw_only=True)
class NormalPriorConfig:
    """The isotropic Gaussian prior.

    Args:
        sd: The standard deviation (Makhzani et al. 2016 use 5 on MNIST).

    Raises:
        ValueError: sd is not a finite number > 0.
    """

    sd: float = 1.0

    def __post_init__(self) -> None:
        require_finite(0, sd=self.sd)
        require(self.sd > 0, "sd must be > 0", sd=self.sd)

    def build(self, latent_dim: int, host: Host | None = None) -> IsotropicNormal:
        return IsotropicNormal(latent_dim, self.sd)
