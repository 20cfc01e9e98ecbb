"""Mixtures of Gaussians, p(z) = sum_k w_k N(z; m_k, L_k L_k^T), and a ring of Gaussians.

Makhzani et al. 2016, figures 2b and 4a. Shapes: K components, B batch, D latent dimension.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genae_core.config import register, require, require_finite, require_positive_int
from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.priors.base import Host, sampled_kl


class GaussianMixture(nn.Module):
    """A mixture of Gaussians.

    Args:
        weights: w, [K], with the sum 1.
        means: m, [K, D].
        factors: L, [K, D, D], the lower triangular Cholesky factors of the covariances.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor
    full_support = True
    learned = False

    def __init__(self, weights: Tensor, means: Tensor, factors: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("means", means)
        self.register_buffer("factors", factors)

    @property
    def num_classes(self) -> int:
        return len(self.weights)

    @property
    def mean(self) -> Tensor:
        return self.weights @ self.means

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return self._sample_from(self._draw_components(sample_shape, draw), draw)

    def sample_given(self, labels: Tensor, draw: Draw) -> Tensor:
        """z [B, D] from the components int64 [B]; the label -1 draws from the whole mixture."""
        any_k = self._draw_components(tuple(labels.shape), draw)
        return self._sample_from(torch.where(labels < 0, any_k, labels), draw)

    def log_joint(self, z: Tensor) -> Tensor:
        """log (w_k N(z; m_k, L_k L_k^T)) in nats, [B, K], for z [B, D]."""
        offset = (z[:, None] - self.means).permute(1, 2, 0)  # [K, D, B]
        scaled = torch.linalg.solve_triangular(self.factors, offset, upper=False)
        log_det = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = 0.5 * z.shape[1] * math.log(2 * math.pi)
        joint: Tensor = self.weights.log() - log_det - constant - 0.5 * scaled.square().sum(1).T
        return joint

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_joint(value).logsumexp(1)

    def responsibilities(self, z: Tensor) -> Tensor:
        """p(k | z), [B, K], for z [B, D]."""
        return self.log_joint(z).softmax(1)

    def kl(self, q: Normal, z: Tensor) -> Tensor:
        return sampled_kl(self, q, z)

    def _draw_components(self, shape: tuple[int, ...], draw: Draw) -> Tensor:
        """Components k, int64 [*shape], drawn with the probabilities w."""
        edges = self.weights.cumsum(0)[:-1].contiguous()
        return torch.searchsorted(edges, draw.uniform(shape), right=True)

    def _sample_from(self, k: Tensor, draw: Draw) -> Tensor:
        """One sample of each component in k [...], [..., D]."""
        eps = draw.normal((*k.shape, self.means.shape[1]))
        return self.means[k] + (self.factors[k] @ eps[..., None])[..., 0]


@register("prior.ring")
@dataclass(frozen=True, kw_only=True)
class RingPriorConfig:
    """Gaussians of equal weight on a ring in the first two dimensions, elongated along the radius.

    In every further dimension, all Gaussians have the mean 0 and the standard deviation
    `radial_sd`. Makhzani et al. 2016 state no numbers for their ten 2-D Gaussians. With the
    defaults, the Gaussians overlap as little as in figure 4a of the paper.

    Args:
        components: The number of Gaussians.
        radius: The radius of the ring.
        radial_sd: The standard deviation of a Gaussian along the radius.
        tangential_sd: The standard deviation of a Gaussian across the radius.

    Raises:
        ValueError: A value is out of range.
    """

    components: int = 10
    radius: float = 4.0
    radial_sd: float = 0.8
    tangential_sd: float = 0.35

    def __post_init__(self) -> None:
        require_positive_int(components=self.components)
        for name in ("radius", "radial_sd", "tangential_sd"):
            value = getattr(self, name)
            require_finite(0, **{name: value})
            require(value > 0, f"{name} must be > 0", **{name: value})

    def build(self, latent_dim: int, host: Host | None = None) -> GaussianMixture:
        require(latent_dim >= 2, "a ring needs latent_dim >= 2", latent_dim=latent_dim)
        count = self.components
        angle = 2 * math.pi * torch.arange(count) / count
        along = torch.stack([angle.cos(), angle.sin()], 1)
        across = torch.stack([-angle.sin(), angle.cos()], 1)
        means = torch.zeros(count, latent_dim)
        means[:, :2] = self.radius * along
        covariance = self.radial_sd**2 * torch.eye(latent_dim).repeat(count, 1, 1)
        covariance[:, :2, :2] = self.radial_sd**2 * along[:, :, None] * along[:, None]
        covariance[:, :2, :2] += self.tangential_sd**2 * across[:, :, None] * across[:, None]
        weights = torch.full((count,), 1 / count)
        return GaussianMixture(weights, means, torch.linalg.cholesky(covariance))
