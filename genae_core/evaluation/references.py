"""The real images that samples are compared with, as the classifier sees both.

Shapes: N images, F features, C channels, H rows, W columns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.data.base import Split, Splits
from genae_core.metrics.classifier import Classifier
from genae_core.metrics.fcd import Gaussian, frechet_distance
from genae_core.training.batches import to_pixels
from genae_core.training.checkpoint import weights_digest

READ = 500  # images at a time
AT_ONCE = 100  # through the classifier: their maps fit a CPU's cache, and take a third less time


@dataclass(frozen=True)
class References:
    """Gaussians of the real images that n samples are compared with, n images each.

    floor: the FCD of n real training images against the test half.
    """

    val: Gaussian
    test: Gaussian
    floor: float


def load_references(
    splits: Splits,
    classifier: Classifier,
    count: int,
    binarize: bool,
    device: torch.device | str = "cpu",
) -> References:
    """The Gaussians of `count` seeded images of each half, and the floor.

    Remembered in this process where the data have a fingerprint: what a process tries one after
    the other, seeds and trials of a sweep, is compared with the same images.
    """
    seen_by = (repr(classifier.config), weights_digest(classifier))
    known = (splits.sha256, *seen_by, count, binarize, str(device))
    if splits.sha256 and known in _REMEMBERED:
        return _REMEMBERED[known]
    val, test, train = (
        fitted(split, classifier, count, binarize, device)
        for split in (splits.val, splits.test, splits.train)
    )
    found = References(val, test, frechet_distance(train, test))
    if splits.sha256:
        _REMEMBERED[known] = found
    return found


_REMEMBERED: dict[tuple[str, str, str, int, bool, str], References] = {}


def fitted(
    split: Split, classifier: Classifier, count: int, binarize: bool, device: torch.device | str
) -> Gaussian:
    """The Gaussian of the features of `count` seeded images."""
    chosen = some(len(split.images), count)
    gaussian = Gaussian(classifier.top.in_features)
    for first in range(0, count, READ):
        x = to_pixels(split.images[chosen[first : first + READ]], binarize, torch.device(device))
        gaussian.update(features_of(classifier, x))
    return gaussian


def features_of(classifier: Classifier, x: Tensor) -> Tensor:
    """The features [N, F] of images [N, C, H, W]."""
    at_once = AT_ONCE if x.device.type == "cpu" else len(x)
    with torch.no_grad():
        return torch.cat([classifier.features(part) for part in torch.split(x, at_once)])


def as_data(mean: Tensor, binarize: bool) -> Tensor:
    """The means of p(x|z) as the classifier sees the data."""
    return (mean > 0.5).float() if binarize else mean


def some(size: int, count: int) -> NDArray[np.int64]:
    """The indices of `count` images of `size`, always the same."""
    chosen: NDArray[Any] = np.random.default_rng(0).permutation(size)[:count]
    return chosen
