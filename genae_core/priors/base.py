"""What a prior gives: the law that z is drawn from, and its divergence from an encoding.

Shapes: B batch, D latent dimension, C channels, H rows, W columns.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from genae_core.config import require
from genae_core.distributions.base import Distribution, Normal
from genae_core.distributions.rng import Draw
from genae_core.nets.base import Shape


class Prior(Distribution, Protocol):
    """A latent law p(z); `mean` is [D], `sample(draw, (n,))` is [n, D]. A prior with parameters
    or tensors is an nn.Module, so that it moves with its model."""

    full_support: bool
    """Whether p has a density above 0 everywhere, without which KL(q || p) is not finite."""

    learned: bool
    """Whether it has parameters that the model's own training must move."""

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(z), [B], in nats, for z [B, D]. Raises TypeError where there is no density."""

    def kl(self, q: Normal, z: Tensor) -> Tensor:
        """KL(q || p) in nats, [B]: closed where there is a form, else log q(z) - log p(z)
        at the sample z [B, D] of q. Only where `full_support`."""


class LabelledPrior(Prior, Protocol):
    """A prior with a part for each class."""

    num_classes: int

    def sample_given(self, labels: Tensor, draw: Draw) -> Tensor:
        """z [B, D] from the parts of the classes int64 [B]; from the whole prior where -1."""


class Host(NamedTuple):
    """The model that a prior is built into: its images, and its q(z|x)."""

    shape: Shape
    encode: Callable[[Tensor], Normal]


class PriorConfig(Protocol):
    """A prior's config."""

    def build(self, latent_dim: int, host: Host | None = None) -> Prior:
        """host: for a prior that is made of encodings. Raises ValueError for a dimension, or for
        a lack of a host, that the prior cannot take."""


def sampled_kl(prior: Prior, q: Normal, z: Tensor) -> Tensor:
    """log q(z) - log p(z), [B]: KL(q || p) in nats from one sample z of q."""
    return q.log_prob(z).sum(1) - prior.log_prob(z)


def check_density(prior: Prior, family: str) -> None:
    """Raise ValueError unless KL(q || p) is finite."""
    require(
        prior.full_support,
        f"{family} trains a KL, so its prior needs a density above 0 everywhere: choose another "
        "prior, or a family that compares samples (AAE, WAE)",
        prior=type(prior).__name__,
    )


def check_fixed(prior: Prior, family: str) -> None:
    """Raise ValueError where the prior would have to be learned by a KL that is not there."""
    require(
        not prior.learned,
        f"{family} moves its codes to a fixed prior: a learned one belongs to a VAE",
        prior=type(prior).__name__,
    )
