"""What a prior gives: the law that z is drawn from, and its divergence from an encoding."""

from typing import Protocol

from torch import Tensor

from genae_core.distributions import Distribution, Normal


class Prior(Distribution, Protocol):
    """A latent law p(z); `mean` is [D], `sample(draw, (n,))` is [n, D]. A prior with parameters
    or tensors is an nn.Module, so that it moves with its model."""

    def kl(self, q: Normal, z: Tensor) -> Tensor:
        """KL(q || p) in nats, [B]: closed where there is a form, else log q(z) - log p(z)
        at the sample z [B, D] of q."""


class PriorConfig(Protocol):
    """A prior's config."""

    def build(self, latent_dim: int) -> Prior: ...
