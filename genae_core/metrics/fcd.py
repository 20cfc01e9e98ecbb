"""The Frechet Classifier Distance: the Frechet distance between Gaussians fitted to the
penultimate features of a classifier trained on the same dataset.

Sridhar & Srivastava, section 5.3; Dowson & Landau 1982 for the distance. Not Inception FID:
its scale is the classifier's. Memory does not grow with the number of images.
Shapes: B batch, F features.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.config import require
from genae_core.metrics.estimate import Estimate, jackknife

Array = NDArray[np.float64]


class Gaussian:
    """Mean [F] and covariance [F, F] of features seen batch by batch, in float64.

    Batches are merged by Chan, Golub & LeVeque 1983, which does not cancel where the mean is
    large against the spread.
    """

    def __init__(self, num_features: int) -> None:
        self.count = 0
        self._mean = torch.zeros(num_features, dtype=torch.float64)
        self._scatter = torch.zeros(num_features, num_features, dtype=torch.float64)

    def update(self, features: Tensor) -> None:
        """Take in features [B, F], on their own device. Raises FloatingPointError where one is
        not finite."""
        # By torch on a CPU too: two libraries' threads, each waiting busily, halve the speed.
        batch = features.detach().double()
        if not batch.isfinite().all():
            raise FloatingPointError(
                "the classifier's features of the samples are not finite: "
                "the chain has left the numbers a float can hold"
            )
        if len(batch) == 0:
            return
        seen = Gaussian(0)
        seen.count, seen._mean = len(batch), batch.mean(0)
        centred = batch - seen._mean
        seen._scatter = centred.T @ centred
        # Kept where the features are.
        self.count, self._mean, self._scatter = seen._with(self, 1)

    def merged(self, other: "Gaussian", sign: int = 1) -> "Gaussian":
        """That of both one's images; with sign -1 of those that are in this one alone."""
        both = Gaussian(len(self._mean))
        if self.count + sign * other.count:
            both.count, both._mean, both._scatter = self._with(other, sign)
        return both

    def _with(self, other: "Gaussian", sign: int) -> tuple[int, Tensor, Tensor]:
        """Both one's count, mean and scatter, on this one's device."""
        mean, scatter = (t.to(self._mean.device) for t in (other._mean, other._scatter))
        count = self.count + sign * other.count
        shift = mean - self._mean
        weight = sign * self.count * other.count / count
        return (
            count,
            self._mean + sign * shift * (other.count / count),
            self._scatter + sign * scatter + weight * torch.outer(shift, shift),
        )

    @property
    def mean(self) -> Array:
        """[F]."""
        mean: Array = self._mean.cpu().numpy()
        return mean

    @property
    def covariance(self) -> Array:
        """The unbiased covariance. Raises ValueError below two images."""
        require(self.count >= 2, "a covariance needs at least 2 images", count=self.count)
        covariance: Array = (self._scatter / (self.count - 1)).cpu().numpy()
        return covariance


def frechet_estimate(blocks: Sequence[Gaussian], real: Gaussian) -> Estimate:
    """The distance of all blocks' images to the real ones, and its standard error over the
    generated images by leaving out one block at a time; the real ones are taken as they are.

    The error is that of the blocks of one size (to a tenth), as most are, scaled to all images by
    sqrt(n): the distance of fewer images is larger, which would be taken for a spread.
    """
    whole = functools.reduce(Gaussian.merged, blocks)
    distance = frechet_distance(whole, real)
    parts = _alike([block for block in blocks if block.count > 0])
    some = functools.reduce(Gaussian.merged, parts)
    if len(parts) < 2 or some.count - max(part.count for part in parts) < 2:
        return Estimate(distance, math.nan)
    without = [frechet_distance(some.merged(part, -1), real) for part in parts]
    error = jackknife(distance, without).error
    return Estimate(distance, error * math.sqrt(some.count / whole.count))


def _alike(blocks: Sequence[Gaussian]) -> list[Gaussian]:
    """The most blocks whose sizes agree to a tenth; of as many the larger ones."""

    def like(size: int) -> list[Gaussian]:
        return [block for block in blocks if 0.9 * size <= block.count <= size]

    sizes = sorted({block.count for block in blocks}, reverse=True)
    return max((like(size) for size in sizes), key=len)


def too_few(images: int, features: int) -> str | None:
    """What a user must know of an FCD of so few images, if they are."""
    if images >= 10 * features:
        return None
    return (
        f"the FCD compares {images} images on {features} features, fewer than 10 images a "
        "feature: its values are biased upwards and noisy"
    )


def frechet_distance(p: Gaussian, q: Gaussian) -> float:
    """|mu_p - mu_q|^2 + tr(S_p + S_q - 2 (S_p S_q)^(1/2)), in squared feature units.

    The trace of the root is the sum of the roots of the eigenvalues of the symmetric
    S_p^(1/2) S_q S_p^(1/2), which S_p S_q shares; rounding below 0 is cut to 0.
    """
    shift = p.mean - q.mean
    values, vectors = np.linalg.eigh(p.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ q.covariance @ root).clip(min=0)).sum()
    traces = np.trace(p.covariance) + np.trace(q.covariance)
    return float(max(0.0, shift @ shift + traces - 2 * overlap))
