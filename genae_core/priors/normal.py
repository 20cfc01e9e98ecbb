"""The isotropic unit Gaussian prior, p(z) = N(0, I) (Creswell et al. 2017, section 4.1)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genae_core.distributions import Normal
from genae_core.draw import Draw


class StandardNormal(nn.Module):
    """N(0, I) over [D]."""

    mean: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent_dim), persistent=False)

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return draw.normal((*sample_shape, *self.mean.shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return -0.5 * (value.square() + math.log(2 * math.pi))

    def kl(self, q: Normal, z: Tensor) -> Tensor:
        """KL(q || p) = 1/2 sum_d (mu^2 + sigma^2 - log sigma^2 - 1), [B], nats
        (Creswell et al. 2017, section 2.1, which writes it summed over the batch)."""
        return 0.5 * (q.mean.square() + q.log_var.exp() - q.log_var - 1).sum(1)


@dataclass(frozen=True, kw_only=True)
class NormalPriorConfig:
    """The unit Gaussian; nothing to set."""

    def build(self, latent_dim: int) -> StandardNormal:
        return StandardNormal(latent_dim)
