"""The thin distributions that encoders, decoders and priors return.

All randomness comes from the `draw` passed in; nothing is validated here, so the same code runs
compiled or stacked. Shapes: B batch, D latent dimension, ... event.
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from genae_core.distributions.rng import Draw

NEGATED = torch.tensor(-1.0)


class Distribution(Protocol):
    """A law over tensors: its mean, a sample and, where it has one, its density."""

    @property
    def mean(self) -> Tensor: ...

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """A sample of shape [*sample_shape, *mean.shape], differentiable where the law allows."""

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), in nats, elementwise over the mean's shape (independent elements).

        Raises TypeError where the law has no density."""


class Normal:
    """A diagonal Gaussian, N(mean, diag(exp(log_var))).

    mean, log_var: [B, D]. Samples are reparameterised: z = mu + sigma * eps
    (Creswell et al. 2017, section 2.1).
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

    `log_prob` is the negative cross-entropy, x log p + (1 - x) log(1 - p), also for grey values
    (Creswell et al. 2017, section 2).
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(self.logits)

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return (draw.uniform((*sample_shape, *self.logits.shape)) < self.mean).float()

    def log_prob(self, value: Tensor) -> Tensor:
        # The weight is the sign: in place, where a minus before it makes two copies of the images.
        return F.binary_cross_entropy_with_logits(self.logits, value, NEGATED, reduction="none")


class Delta:
    """A deterministic law: all mass on `mean`; it has no density."""

    def __init__(self, mean: Tensor) -> None:
        self.mean = mean

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return self.mean.expand(*sample_shape, *self.mean.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        raise TypeError("a deterministic encoder has a mean and no density: log_prob is undefined")


class Implicit:
    """z = f(eta), eta ~ N(0, I) or U[-1, 1) of a shape: it can be sampled and has no density.

    f: eta [..., *shape] -> z [..., ...]. Its `mean` is f(0), the image of the noise's mean: the
    law's own has no closed form.
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
        raise TypeError("an implicit law can be sampled and has no density: log_prob is undefined")
