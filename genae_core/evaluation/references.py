"""The real images that samples are compared with, and their classifier features.

Shapes: N images, F features, C channels, H rows, W columns.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.data.base import Split, Splits
from genae_core.metrics.classifier import Classifier
from genae_core.metrics.classifier_features import fit_features
from genae_core.metrics.fcd import Gaussian, floor_distance
from genae_core.metrics.pretrained import FeatureExtractor, Pretrained
from genae_core.training.batches import to_pixels
from genae_core.training.checkpoint import weights_digest


@dataclass(frozen=True)
class ReferenceData:
    """The data that samples are compared with, and the classifier that computes the features.

    Args:
        splits: The dataset.
        classifier: The classifier of this dataset, on `device`.
        binarize: Whether the classifier sees pixels thresholded at one half.
        device: The device of the model and of the comparison.
        pretrained: Pretrained networks that `measure` compares features of as well, on `device`.
    """

    splits: Splits
    classifier: Classifier
    binarize: bool = False
    device: torch.device | str = "cpu"
    pretrained: tuple[Pretrained, ...] = ()

    def pixels(self, split: Split, index: NDArray[np.int64]) -> Tensor:
        """The images [N, C, H, W] of a split as the classifier sees them."""
        return to_pixels(split.images[index], self.binarize, torch.device(self.device))


@dataclass(frozen=True)
class References:
    """Gaussians fitted to the features of n real images each, to compare n samples with.

    Attributes:
        val: The Gaussian of the validation half.
        test: The Gaussian of the test half.
        floor: The FCD of n real training images against the test half.
    """

    val: Gaussian
    test: Gaussian
    floor: float


def fit_references(data: ReferenceData, count: int) -> References:
    """Fit the Gaussians of `count` seeded images of each half, and compute the floor.

    The result is cached in this process if the data have a fingerprint, since all seeds and
    trials of a sweep that this process runs are compared with the same images.

    Args:
        data: The data and the classifier.
        count: The number n of images of each half.

    Returns:
        The Gaussians and the floor.
    """
    splits, classifier = data.splits, data.classifier
    identity = (repr(classifier.config), weights_digest(classifier), classifier.precision)
    key = (splits.sha256, *identity, count, data.binarize, str(data.device))
    if splits.sha256 and key in _CACHE:
        return _CACHE[key]
    val, test, train = (
        fit_gaussian(data, split, count) for split in (splits.val, splits.test, splits.train)
    )
    references = References(val, test, floor_distance(train, test))
    if splits.sha256:
        _CACHE[key] = references
    return references


_CACHE: dict[tuple[str, str, str, str, int, bool, str], References] = {}


def fit_gaussian(
    data: ReferenceData, split: Split, count: int, extractor: FeatureExtractor | None = None
) -> Gaussian:
    """Fit a Gaussian to the features of `count` seeded images of a split.

    extractor: What computes the features; None is the classifier.
    """
    return fit_features(extractor or data.classifier, split, count, data.binarize, data.device)


def as_data(mean: Tensor, binarize: bool) -> Tensor:
    """The means of p(x|z) as the classifier sees data, thresholded if the data are."""
    return (mean > 0.5).float() if binarize else mean
