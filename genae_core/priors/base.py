"""The prior: the distribution that z is drawn from, and the KL divergence of q(z|x) from it.

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
    """A prior p(z). Its mean is [D], and `sample(draw, (n,))` is [n, D].

    A prior with parameters or tensors is an nn.Module, so that it moves to the device of its
    model.
    """

    full_support: bool
    """Whether p has a density that is above 0 everywhere; otherwise KL(q || p) is infinite."""

    learned: bool
    """Whether p has parameters that the training of the model must optimise."""

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(z) in nats.

        Args:
            value: z, [B, D].

        Returns:
            One number for each z, [B].

        Raises:
            TypeError: The prior has no density.
        """

    def kl(self, q: Normal, z: Tensor) -> Tensor:
        """KL(q || p) in nats.

        It is computed in closed form if there is one, and otherwise estimated by
        log q(z) - log p(z).

        Args:
            q: B distributions of z, with mean and log_var [B, D].
            z: One sample of each, [B, D].

        Returns:
            One number for each q, [B].

        Raises:
            TypeError: `full_support` is False.
        """


class LabelledPrior(Prior, Protocol):
    """A prior with a part for each class."""

    num_classes: int
    """The number of classes, and so of parts."""

    def sample_given(self, labels: Tensor, draw: Draw) -> Tensor:
        """Draw z given its class.

        Args:
            labels: The classes, int64 [B]; -1 draws from the whole prior.
            draw: The source of randomness.

        Returns:
            z, [B, D].
        """


class Host(NamedTuple):
    """The model that a prior is built into.

    Attributes:
        shape: (C, H, W) of its images.
        encode: Its encoder q(z|x), for images [B, C, H, W].
    """

    shape: Shape
    encode: Callable[[Tensor], Normal]


class PriorConfig(Protocol):
    """The config of a prior."""

    def build(self, latent_dim: int, host: Host | None = None) -> Prior:
        """Build the prior.

        Args:
            latent_dim: D.
            host: The model that the prior is built into. Only a prior that is made of encodings,
                such as the VampPrior, needs it.

        Returns:
            The prior over z [D].

        Raises:
            ValueError: The prior does not exist in this dimension, or it needs a host.
        """


def sampled_kl(prior: Prior, q: Normal, z: Tensor) -> Tensor:
    """log q(z) - log p(z), [B]: an estimate of KL(q || p) in nats from one sample z of q."""
    return q.log_prob(z).sum(1) - prior.log_prob(z)


def check_density(prior: Prior, family: str) -> None:
    """Raise ValueError unless KL(q || p), which the family trains, is finite."""
    require(
        prior.full_support,
        f"{family} trains a KL, so its prior needs a density above 0 everywhere: choose another "
        "prior, or a family that compares samples (AAE, WAE)",
        prior=type(prior).__name__,
    )


def check_fixed(prior: Prior, family: str) -> None:
    """Raise ValueError if the prior has parameters: the family has no KL that would train them."""
    require(
        not prior.learned,
        f"{family} moves its codes to a fixed prior: choose another prior, or a VAE, which trains "
        "its prior",
        prior=type(prior).__name__,
    )
