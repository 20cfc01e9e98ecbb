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
        self.mean: Array = np.zeros(num_features)
        self._scatter: Array = np.zeros((num_features, num_features))

    def update(self, features: Tensor) -> None:
        """Take in features [B, F]. Raises FloatingPointError where one is not finite."""
        if len(features) == 0:
            return
        # By torch, on the features' device; on a CPU too, where the threads of numpy's matrix
        # products and torch's, each waiting busily, would halve the speed.
        batch = features.detach().double()
        if not batch.isfinite().all():
            raise FloatingPointError(
                "the classifier's features of the samples are not finite: "
                "the chain has left the numbers a float can hold"
            )
        centre = batch.mean(0)
        centred = batch - centre
        mean, scatter = (moment.cpu().numpy() for moment in (centre, centred.T @ centred))
        count = self.count + len(batch)
        shift = mean - self.mean
        weight = self.count * len(batch) / count
        self._scatter += scatter + weight * np.outer(shift, shift)
        self.mean = self.mean + shift * (len(batch) / count)
        self.count = count

    def merged(self, other: "Gaussian", sign: int = 1) -> "Gaussian":
        """That of both one's images; with sign -1 of those that are in this one alone."""
        both = Gaussian(len(self.mean))
        both.count = self.count + sign * other.count
        if both.count == 0:
            return both
        shift = other.mean - self.mean
        both.mean = self.mean + sign * shift * (other.count / both.count)
        weight = sign * self.count * other.count / both.count
        both._scatter = self._scatter + sign * other._scatter + weight * np.outer(shift, shift)
        return both

    @property
    def covariance(self) -> Array:
        """The unbiased covariance. Raises ValueError below two images."""
        require(self.count >= 2, "a covariance needs at least 2 images", count=self.count)
        covariance: Array = self._scatter / (self.count - 1)
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
