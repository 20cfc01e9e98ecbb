"""The Parzen-window log-likelihood: the log-density of images under a kernel density estimate.

Goodfellow et al. 2014, section 5; Breuleux et al. 2011. The value says little about the quality
of samples: Theis et al. 2016, section 3.3, show that it rewards blur, and that k-means centroids
get a higher value than real images. Shapes: N samples, M images, K bandwidths, D pixels.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from genae_core.config import require
from genae_core.metrics.estimate import mean_of

BLOCK = 1_000  # samples whose distances to all images are in memory at once


class LogLikelihood(NamedTuple):
    """The mean log-density of images, in nats, and its standard error over the images."""

    mean: float
    error: float


def log_densities(blocks: Iterable[Tensor], images: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """log 1/N sum_n N(x_m; s_n, sigma_k^2 I) in nats, float64 [K, M].

    Args:
        blocks: The samples s [*, D], in blocks of any size, so that memory does not grow with N.
        images: The images x [M, D].
        bandwidths: The K values of sigma, in units of the pixels.

    Raises:
        ValueError: There are no samples or no images, or a bandwidth is not positive and finite.
    """
    scales = torch.tensor(list(bandwidths), dtype=torch.float64, device=images.device)
    require(
        bool(((scales > 0) & scales.isfinite()).all()),
        "bandwidths must be > 0 and finite",
        bandwidths=list(bandwidths),
    )
    require(len(images) > 0, "a Parzen log-likelihood needs images", images=len(images))
    total = torch.full((len(scales), len(images)), -math.inf, device=images.device).double()
    squares = images.square().sum(1)
    count = 0
    for block in blocks:
        for samples in torch.split(block, BLOCK):
            distances = squares[:, None] + samples.square().sum(1) - 2 * images @ samples.T
            exponents = distances.clamp_min(0).double()
            for row, sigma in enumerate(scales):
                part = torch.logsumexp(-exponents / (2 * sigma**2), 1)
                total[row] = torch.logaddexp(total[row], part)
            count += len(samples)
    require(count > 0, "a Parzen window needs samples", samples=count)
    constant = 0.5 * images.shape[1] * torch.log(2 * math.pi * scales.square())
    return total - math.log(count) - constant[:, None]


def choose_bandwidth(samples: Tensor, held_out: Tensor, bandwidths: Sequence[float]) -> float:
    """Choose the bandwidth under which held-out images [M, D] are most likely."""
    means = log_densities([samples], held_out, bandwidths).mean(1)
    return float(bandwidths[int(means.argmax())])


def log_likelihood(blocks: Iterable[Tensor], images: Tensor, bandwidth: float) -> LogLikelihood:
    """The mean log-density of images under the kernel density estimate of samples.

    Args:
        blocks: The samples [*, D], in blocks of any size.
        images: The images [M, D].
        bandwidth: The standard deviation sigma of the kernel, in units of the pixels.

    Returns:
        The mean in nats, and its standard error over the images.

    Raises:
        ValueError: There are no samples or no images, or the bandwidth is not positive and
            finite.
    """
    values = log_densities(blocks, images, [bandwidth])[0]
    return LogLikelihood(*mean_of(values))
