"""The likelihood p(x|z): the distribution of images that a decoder's outputs parameterise.

Shapes: B batch, C channels, H rows, W columns.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from genae_core.config import register, require, require_finite
from genae_core.distributions.base import Bernoulli, Distribution, Normal

GREY_LEVEL = 1 / 255


class Likelihood(Protocol):
    """The config of a likelihood: a frozen dataclass of its settings."""

    def maps(self, channels: int) -> int:
        """The number of maps that the decoder must output.

        Args:
            channels: The number C of channels of the images.

        Returns:
            The number of maps.
        """

    def distribution(self, output: Tensor) -> Distribution:
        """The distribution p(x|z) of the images.

        Args:
            output: The decoder's output, [B, maps, H, W].

        Returns:
            p(x|z), whose mean is [B, C, H, W] in [0, 1].
        """


@register("bernoulli_pixels")
@dataclass(frozen=True, kw_only=True)
class BernoulliPixels:
    """Independent pixels with P(x = 1) = sigmoid(output) (Kingma & Welling 2014, appendix C.1).

    For grey values, -log p(x|z) is the cross-entropy that the papers train with.
    """

    def maps(self, channels: int) -> int:
        return channels

    def distribution(self, output: Tensor) -> Bernoulli:
        return Bernoulli(output)


@register("gaussian_pixels")
@dataclass(frozen=True, kw_only=True)
class GaussianPixels:
    """Independent pixels N(sigmoid(output), sd^2) (Kingma & Welling 2014, appendix C.2).

    Args:
        sd: The standard deviation, in units of pixels in [0, 1]; sd^2 = 1/2 gives the squared
            error. With None, the decoder also outputs a standard deviation for each pixel, which
            is at least one grey level (1/255).

    Raises:
        ValueError: sd is not a finite number > 0.
    """

    sd: float | None = None

    def __post_init__(self) -> None:
        if self.sd is not None:
            require_finite(0, sd=self.sd)
            require(self.sd > 0, "sd must be > 0", sd=self.sd)

    def maps(self, channels: int) -> int:
        return channels if self.sd is not None else 2 * channels

    def distribution(self, output: Tensor) -> Normal:
        if self.sd is not None:
            mean = torch.sigmoid(output)
            return Normal(mean, torch.full_like(mean, 2 * math.log(self.sd)))
        logits, log_var = output.chunk(2, dim=1)
        lowest = 2 * math.log(GREY_LEVEL)
        # With a clamp instead, a pixel below the lowest value would have no gradient.
        return Normal(torch.sigmoid(logits), lowest + F.softplus(log_var - lowest))
