"""The VampPrior: p(z) = 1/K sum_k q(z | u_k) with learned images u_k (Tomczak & Welling 2018,
eq. 9).

Shapes: K pseudo-inputs, B batch, C channels, H rows, W columns, D latent dimension.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genae_core.config import register, require, require_positive_int
from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.nets.base import batch_norm_mode
from genae_core.priors.base import Host, sampled_kl


class VampPrior(nn.Module):
    """The mixture of the encodings of K pseudo-inputs, the sigmoids of `logits` [K, C, H, W].

    The pseudo-inputs are encoded with the running averages of batch normalisation, so that their
    encodings do not depend on a batch.
    """

    full_support = True
    learned = True

    def __init__(self, components: int, host: Host) -> None:
        super().__init__()
        self.host = host
        self.logits = nn.Parameter(torch.randn(components, *host.shape))

    def components(self) -> Normal:
        """q(z | u_k) for every k, with mean and log_var [K, D]."""
        encoder = getattr(self.host.encode, "__self__", None)
        assert isinstance(encoder, nn.Module)
        with batch_norm_mode(encoder, "running"):
            return self.host.encode(torch.sigmoid(self.logits))

    @property
    def mean(self) -> Tensor:
        return self.components().mean.mean(0)

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        q = self.components()
        k = (draw.uniform(sample_shape) * len(q.mean)).long().clamp_max(len(q.mean) - 1)
        return Normal(q.mean[k], q.log_var[k]).sample(draw)

    def log_prob(self, value: Tensor) -> Tensor:
        q = self.components()
        by_component = Normal(q.mean, q.log_var).log_prob(value[:, None]).sum(2)  # [B, K]
        return by_component.logsumexp(1) - math.log(len(q.mean))

    def kl(self, q: Normal, z: Tensor) -> Tensor:
        return sampled_kl(self, q, z)


@register("prior.vamp")
@dataclass(frozen=True, kw_only=True)
class VampPriorConfig:
    """The VampPrior of a VAE.

    Args:
        components: K, the number of learned images.

    Raises:
        ValueError: The number is not a whole number >= 1.
    """

    components: int = 100

    def __post_init__(self) -> None:
        require_positive_int(components=self.components)

    def build(self, latent_dim: int, host: Host | None = None) -> VampPrior:
        require(
            host is not None,
            "a VampPrior is a mixture of encodings, so it needs a model with a Gaussian encoder "
            "(a VAE)",
            components=self.components,
        )
        assert host is not None
        return VampPrior(self.components, host)
