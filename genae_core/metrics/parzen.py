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

# The distances of this many samples and images are in memory at once. They fit a CPU's cache.
BLOCK, ROWS = 1_000, 200
# exp() is twenty times slower where float32 cannot hold the result. Beside the 1 of the nearest
# sample, exp(-80) is nothing.
LEAST_EXPONENT = -80.0


class LogLikelihood(NamedTuple):
    """The mean log-density of images, in nats, and its standard error over the images."""

    mean: float
    error: float


class KernelSums:
    """The running sums of the kernels of samples at images, to which blocks of samples are added.

    Args:
        images: The images x [M, D].
        bandwidths: The K values of sigma, in units of the pixels.

    Raises:
        ValueError: There are no images, or a bandwidth is not positive and finite.
    """

    total: Tensor
    """log sum_n exp(-|x_m - s_n|^2 / 2 sigma_k^2) over the samples so far, float64 [K, M]."""
    count: int
    """The number of samples so far."""

    def __init__(self, images: Tensor, bandwidths: Sequence[float]) -> None:
        self.images, self.bandwidths = images, tuple(bandwidths)
        scales = torch.tensor(self.bandwidths, dtype=torch.float64, device=images.device)
        require(
            bool(((scales > 0) & scales.isfinite()).all()),
            "bandwidths must be > 0 and finite",
            bandwidths=list(bandwidths),
        )
        require(len(images) > 0, "a Parzen log-likelihood needs images", images=len(images))
        self.constant = 0.5 * images.shape[1] * torch.log(2 * math.pi * scales.square())
        self.total = images.new_full((len(scales), len(images)), -math.inf, dtype=torch.float64)
        self.count = 0

    def add(self, block: Tensor) -> None:
        """Add the kernels of the samples s [*, D]."""
        for samples in torch.split(block, BLOCK):
            for first in range(0, len(self.images), ROWS):
                rows = slice(first, first + ROWS)
                densities = _add_kernels(samples, self.images[rows], self.bandwidths)
                self.total[:, rows] = torch.logaddexp(self.total[:, rows], densities)
            self.count += len(samples)

    def log_densities(self) -> Tensor:
        """log 1/N sum_n N(x_m; s_n, sigma_k^2 I) in nats, float64 [K, M].

        Raises:
            ValueError: There are no samples.
        """
        require(self.count > 0, "a Parzen window needs samples", samples=self.count)
        return self.total - math.log(self.count) - self.constant[:, None]


def log_densities(blocks: Iterable[Tensor], images: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """log 1/N sum_n N(x_m; s_n, sigma_k^2 I) in nats, float64 [K, M].

    Args:
        blocks: The samples s [*, D], in blocks of any size, so that memory does not grow with N.
        images: The images x [M, D].
        bandwidths: The K values of sigma, in units of the pixels.

    Raises:
        ValueError: There are no samples or no images, or a bandwidth is not positive and finite.
    """
    sums = KernelSums(images, bandwidths)
    for block in blocks:
        sums.add(block)
    return sums.log_densities()


def _add_kernels(samples: Tensor, images: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """log sum_n exp(-|x_m - s_n|^2 / 2 sigma_k^2), float64 [K, M].

    The exponents are relative to those of the nearest sample, so float32 holds them.
    """
    squares = images.square().sum(1)[:, None] + samples.square().sum(1)
    distances = squares.addmm_(images, samples.T, alpha=-2).clamp_min_(0)
    nearest = distances.amin(1)
    distances -= nearest[:, None]
    sums = []
    for sigma in bandwidths:
        scale = -0.5 / sigma**2
        exponents = (distances * scale).clamp_min_(LEAST_EXPONENT)
        sums.append(exponents.exp_().sum(1).double().log() + scale * nearest.double())
    return torch.stack(sums)


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
