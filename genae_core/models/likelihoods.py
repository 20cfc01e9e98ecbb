"""p(x|z): what a decoder's outputs mean. Shapes: B batch, C channels, H rows, W columns."""

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
    """A frozen dataclass of the law's settings."""

    def maps(self, channels: int) -> int:
        """Channels of the decoder's output for images of so many channels."""

    def distribution(self, output: Tensor) -> Distribution:
        """p(x|z) from the decoder's output [B, maps, H, W]; its mean is in [0, 1]."""


@register("bernoulli_pixels")
@dataclass(frozen=True, kw_only=True)
class BernoulliPixels:
    """Independent pixels with P(x = 1) = sigmoid(output) (Kingma & Welling 2014, appendix C.1);
    on grey values the cross-entropy that the papers train."""

    def maps(self, channels: int) -> int:
        return channels

    def distribution(self, output: Tensor) -> Bernoulli:
        return Bernoulli(output)


@register("gaussian_pixels")
@dataclass(frozen=True, kw_only=True)
class GaussianPixels:
    """Independent pixels N(sigmoid(output), sd^2) (Kingma & Welling 2014, appendix C.2).

    sd: a fixed standard deviation, of images in [0, 1]; sd^2 = 1/2 gives the squared error. None
    learns one a pixel, no smaller than a grey level (1/255), from a second output.
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
        least = 2 * math.log(GREY_LEVEL)
        # Not a clamp, which would leave a pixel below it without a gradient.
        return Normal(torch.sigmoid(logits), least + F.softplus(log_var - least))
