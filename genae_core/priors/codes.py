"""The prior of an InfoGAN: noise, a class, and continuous codes (Chen et al. 2016, section 7).

Shapes: B batch, D latent dimension, K classes, S continuous codes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.config import register, require, require_int, require_positive_int
from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.priors.base import Host


@register("prior.codes")
@dataclass(frozen=True, kw_only=True)
class CodesConfig:
    """The prior of an InfoGAN: z is noise, a one-hot class, and continuous codes, in this order.

    Args:
        classes: The number K of classes, all equally probable.
        continuous: The number S of continuous codes, each U(-1, 1). The noise, N(0, 1), has the
            rest of the latent dimension.

    Raises:
        ValueError: A value is out of range.
    """

    classes: int = 10
    continuous: int = 2

    def __post_init__(self) -> None:
        require_positive_int(classes=self.classes)
        require(self.classes >= 2, "classes must be >= 2", classes=self.classes)
        require_int(continuous=self.continuous)
        require(self.continuous >= 0, "continuous must be >= 0", continuous=self.continuous)

    def noise_dim(self, latent_dim: int) -> int:
        """The dimension of the noise in codes of this latent dimension; at least one."""
        codes = self.classes + self.continuous
        require(
            latent_dim > codes,
            f"latent_dim counts the noise, the {self.classes} classes and the {self.continuous} "
            f"continuous codes, so it must be >= {codes + 1}",
            latent_dim=latent_dim,
        )
        return latent_dim - codes

    def build(self, latent_dim: int, host: Host | None = None) -> "Codes":
        return Codes(self.noise_dim(latent_dim), self.classes, self.continuous)


class Codes(nn.Module):
    """z = [noise, one-hot class, continuous codes], [D] with D = noise_dim + K + S.

    Args:
        noise_dim: The dimension of the noise.
        classes: K.
        continuous: S.
    """

    mean: Tensor
    full_support = False
    learned = False

    def __init__(self, noise_dim: int, classes: int, continuous: int) -> None:
        super().__init__()
        self.sizes = (noise_dim, classes, continuous)
        mean = torch.zeros(sum(self.sizes))
        mean[noise_dim : noise_dim + classes] = 1 / classes
        self.register_buffer("mean", mean, persistent=False)

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        noise_dim, classes, continuous = self.sizes
        noise = draw.normal((*sample_shape, noise_dim))
        one_hot = sample_classes(classes, sample_shape, draw)
        uniform = 2 * draw.uniform((*sample_shape, continuous)) - 1
        return torch.cat([noise, one_hot, uniform], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        raise TypeError("a one-hot class has no density: log_prob is undefined")

    def kl(self, q: Normal, z: Tensor) -> Tensor:
        """Raise TypeError, because the KL divergence is infinite for every Gaussian q."""
        raise TypeError("KL(q || p) is infinite for a Gaussian q and a one-hot class")


def sample_classes(num_classes: int, shape: tuple[int, ...], draw: Draw) -> Tensor:
    """Uniform classes as one-hot vectors, [*shape, K]."""
    uniform = draw.uniform(shape)
    classes = (uniform * num_classes).long().clamp_max(num_classes - 1)
    return F.one_hot(classes, num_classes).to(uniform.dtype)
