"""The Frechet Classifier Distance: the Frechet distance between Gaussians fitted to the
penultimate features of a classifier trained on the same dataset.

Sridhar & Srivastava, section 5.3; Dowson & Landau 1982 for the distance. It is not comparable
with the Inception FID, since its scale depends on the classifier. Memory does not grow with the
number of images. Shapes: B batch, F features.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genae_core.config import require
from genae_core.metrics.estimate import Estimate, jackknife

Array = NDArray[np.float64]

# A distance below this fraction of the total variance is a rounding error. The distance of a
# Gaussian to itself is about 1e-8 of it for each feature; that of n images of each side is at
# least 2 / n.
ROUNDING = 1e-6


class Gaussian:
    """The mean [F] and covariance [F, F] of features that come in batches, in float64.

    Batches are merged by Chan, Golub & LeVeque 1983, which avoids cancellation if the mean is
    much larger than the standard deviation.

    Args:
        num_features: F.
    """

    def __init__(self, num_features: int) -> None:
        self.count = 0
        self.mean: Array = np.zeros(num_features)
        self._scatter: Array = np.zeros((num_features, num_features))

    def update(self, features: Tensor) -> None:
        """Add features [B, F]. Raises FloatingPointError if one or a moment is not finite."""
        if len(features) == 0:
            return
        # torch computes the product, on the features' device. On a CPU, numpy's threads would
        # compete with torch's busily waiting threads, which halves the speed.
        batch = features.detach().double()
        if not batch.isfinite().all():
            raise FloatingPointError(
                "the classifier's features of the samples are not finite: "
                "the chain has left the range of floating-point numbers"
            )
        centre = batch.mean(0)
        centred = batch - centre
        mean, scatter = (moment.cpu().numpy() for moment in (centre, centred.T @ centred))
        count = self.count + len(batch)
        with np.errstate(over="ignore", invalid="ignore"):
            shift = mean - self.mean
            weight = self.count * len(batch) / count
            self._scatter += scatter + weight * np.outer(shift, shift)
            self.mean = self.mean + shift * (len(batch) / count)
        self.count = count
        if not np.isfinite(self._scatter).all():
            raise FloatingPointError(
                "the variance of the classifier's features of the samples is not finite: the "
                "chain has left the range of floating-point numbers"
            )

    def merge(self, other: "Gaussian", sign: int = 1) -> "Gaussian":
        """The Gaussian of the images of both; with sign -1, without the images of `other`."""
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
        """The unbiased covariance [F, F]. Raises ValueError for fewer than two images."""
        require(self.count >= 2, "a covariance needs at least 2 images", count=self.count)
        covariance: Array = self._scatter / (self.count - 1)
        return covariance


def frechet_estimate(blocks: Sequence[Gaussian], real: Gaussian) -> Estimate:
    """The Frechet distance of generated images to real ones, with its standard error.

    The error is a jackknife over blocks of generated images; the real images count as fixed. The
    distance is larger for fewer images, so blocks of different sizes would make the error look
    larger. The jackknife therefore uses only the blocks of the most common size (to a tenth), and
    scales the error to all images by the square root of their number.

    Args:
        blocks: Gaussians of disjoint blocks of generated images.
        real: The Gaussian of the real images.

    Returns:
        The distance of all blocks together, and its standard error.

    Raises:
        ValueError: A side has fewer than two images.
    """
    return frechet_jackknife(blocks, real).estimate()


class Jackknife(NamedTuple):
    """A distance of all blocks of images, and of all but one.

    Attributes:
        value: The distance of all blocks together.
        without: The distance without each block in turn; empty if there are too few images.
        scale: By what the error of these blocks is multiplied, for all images.
    """

    value: float
    without: Sequence[float]
    scale: float

    def estimate(self) -> Estimate:
        """The distance with its standard error."""
        return Estimate(self.value, jackknife(self.value, self.without).error * self.scale)

    def minus(self, other: "Jackknife") -> Estimate:
        """The difference of two distances of the same chains, with its standard error.

        Both leave out the same block of chains, so that what the chains share cancels.
        """
        pairs = zip(self.without, other.without, strict=False)
        difference = self.value - other.value
        error = jackknife(difference, [a - b for a, b in pairs]).error
        return Estimate(difference, error * self.scale)


def frechet_jackknife(blocks: Sequence[Gaussian], real: Gaussian) -> Jackknife:
    """The distance of `frechet_estimate`, with what its standard error comes from."""
    whole = functools.reduce(Gaussian.merge, blocks)
    distance = frechet_distance(whole, real)
    parts = _most_common_size([block for block in blocks if block.count > 0])
    merged = functools.reduce(Gaussian.merge, parts)
    if len(parts) < 2 or merged.count - max(part.count for part in parts) < 2:
        return Jackknife(distance, [], 1.0)
    without = [frechet_distance(merged.merge(part, -1), real) for part in parts]
    return Jackknife(distance, without, math.sqrt(merged.count / whole.count))


def _most_common_size(blocks: Sequence[Gaussian]) -> list[Gaussian]:
    """The largest group of blocks whose sizes agree to a tenth; of equal groups, larger blocks."""

    def of_size(size: int) -> list[Gaussian]:
        return [block for block in blocks if 0.9 * size <= block.count <= size]

    sizes = sorted({block.count for block in blocks}, reverse=True)
    return max((of_size(size) for size in sizes), key=len)


def few_images_warning(images: int, features: int, name: str = "FCD") -> str | None:
    """A warning for the user if a Frechet distance compares too few images for its features."""
    if images >= 10 * features:
        return None
    return (
        f"the {name} compares {images} images on {features} features, fewer than 10 images for "
        "each feature: its values are biased upwards and noisy"
    )


def frechet_distance(p: Gaussian, q: Gaussian) -> float:
    """|mu_p - mu_q|^2 + tr(S_p + S_q - 2 (S_p S_q)^(1/2)), in squared feature units.

    The trace of the root is the sum of the roots of the eigenvalues of the symmetric
    S_p^(1/2) S_q S_p^(1/2), which has the eigenvalues of S_p S_q. Negative eigenvalues, which
    come from rounding, count as 0. Dowson & Landau 1982.

    Args:
        p: One Gaussian.
        q: The other Gaussian.

    Returns:
        The distance, which is 0 or more.

    Raises:
        ValueError: One has fewer than two images.
    """
    shift = p.mean - q.mean
    values, vectors = np.linalg.eigh(p.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ q.covariance @ root).clip(min=0)).sum()
    traces = np.trace(p.covariance) + np.trace(q.covariance)
    return float(max(0.0, shift @ shift + traces - 2 * overlap))


def floor_distance(p: Gaussian, q: Gaussian) -> float:
    """The Frechet distance between two sets of real images; 0 if it is only a rounding error.

    The result divides other distances, so a rounding error must not pass for a value.

    Raises ValueError if a set has fewer than two images.
    """
    distance = frechet_distance(p, q)
    total = np.trace(p.covariance) + np.trace(q.covariance)
    return distance if distance > ROUNDING * total else 0.0
