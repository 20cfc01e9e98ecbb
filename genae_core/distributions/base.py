"""The thin distributions that encoders, decoders and priors return.

All randomness comes from the `draw` argument. Nothing is validated here, so that the same code
also runs compiled, captured as a CUDA graph, or stacked over seeds.
Shapes: B batch, D latent dimension, C channels, H rows, W columns.
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from genae_core.distributions.rng import Draw

MINUS_ONE = torch.tensor(-1.0)


class Distribution(Protocol):
    """A distribution over tensors: its mean, samples and, if it has one, its density."""

    @property
    def mean(self) -> Tensor:
        """The mean of the distribution."""

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw samples, differentiable in the parameters if the distribution allows it.

        Args:
            draw: The source of randomness.
            sample_shape: The shape in which independent samples are arranged.

        Returns:
            A tensor [*sample_shape, *mean.shape].
        """

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value) in nats.

        Args:
            value: A tensor of the mean's shape.

        Returns:
            One number for each independent element of the distribution.

        Raises:
            TypeError: The distribution has no density.
        """


class Normal:
    """A diagonal Gaussian, N(mean, diag(exp(log_var))).

    Samples are reparameterised, z = mu + sigma * eps (Creswell et al. 2017, section 2.1).

    Args:
        mean: mu, [B, D].
        log_var: log sigma^2, [B, D].
    """

    def __init__(self, mean: Tensor, log_var: Tensor) -> None:
        self.mean = mean
        self.log_var = log_var

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        eps = draw.normal((*sample_shape, *self.mean.shape))
        return self.mean + torch.exp(0.5 * self.log_var) * eps

    def log_prob(self, value: Tensor) -> Tensor:
        squared = (value - self.mean).square() / self.log_var.exp()
        return -0.5 * (squared + self.log_var + math.log(2 * math.pi))


class Bernoulli:
    """Independent pixels in [0, 1] with P(x = 1) = sigmoid(logits).

    `log_prob` is the negative cross-entropy, x log p + (1 - x) log(1 - p), in nats, also for grey
    values (Creswell et al. 2017, section 2).

    Args:
        logits: The logits of the pixels, [B, C, H, W].
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(self.logits)

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return (draw.uniform((*sample_shape, *self.logits.shape)) < self.mean).float()

    def log_prob(self, value: Tensor) -> Tensor:
        # torch multiplies by a weight in place. A minus sign in front of the call would copy the
        # images twice.
        return F.binary_cross_entropy_with_logits(self.logits, value, MINUS_ONE, reduction="none")


class Delta:
    """A deterministic value: all mass is on `mean`, and there is no density.

    Args:
        mean: The value, of any shape.
    """

    def __init__(self, mean: Tensor) -> None:
        self.mean = mean

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return self.mean.expand(*sample_shape, *self.mean.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        raise TypeError("a deterministic encoder has a mean and no density: log_prob is undefined")


class Implicit:
    """z = f(eta) with eta ~ N(0, I) or U[-1, 1). It can be sampled, but it has no density.

    Its `mean` is f(0), the image of the mean of eta, because the mean of z has no closed form.

    Args:
        f: The map eta [..., *like.shape] -> z.
        like: A tensor of the shape, device and type of one eta.
        uniform: Whether eta is uniform instead of Gaussian.
    """

    def __init__(self, f: Callable[[Tensor], Tensor], like: Tensor, uniform: bool = False) -> None:
        self.f, self.like, self.uniform = f, like, uniform

    @property
    def mean(self) -> Tensor:
        return self.f(torch.zeros_like(self.like))

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        shape = (*sample_shape, *self.like.shape)
        return self.f(2 * draw.uniform(shape) - 1 if self.uniform else draw.normal(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        raise TypeError(
            "an implicit distribution can be sampled and has no density: log_prob is undefined"
        )
