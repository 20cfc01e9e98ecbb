"""The features of images under the FCD's classifier, and the Gaussian that is fitted to them.

Shapes: N images, C channels, H rows, W columns, F features.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.data.base import Split
from genae_core.metrics.classifier import Classifier
from genae_core.metrics.fcd import Gaussian
from genae_core.training.batches import to_pixels

READ = 500  # images that are read at once
# Images that pass the classifier at once on a CPU. Their maps fit its cache, which saves a third
# of the time.
CPU_BATCH = 100


def features_of(classifier: Classifier, x: Tensor) -> Tensor:
    """The features [N, F] of images [N, C, H, W]."""
    size = CPU_BATCH if x.device.type == "cpu" else len(x)
    with torch.no_grad():
        return torch.cat([classifier.features(part) for part in torch.split(x, size)])


def fit_features(
    classifier: Classifier,
    split: Split,
    count: int,
    binarize: bool,
    device: torch.device | str = "cpu",
) -> Gaussian:
    """Fit a Gaussian to the features of `count` seeded images of a split."""
    index = seeded_indices(len(split.images), count)
    gaussian = Gaussian(classifier.top.in_features)
    for first in range(0, count, READ):
        images = split.images[index[first : first + READ]]
        gaussian.update(features_of(classifier, to_pixels(images, binarize, torch.device(device))))
    return gaussian


def seeded_indices(size: int, count: int) -> NDArray[np.int64]:
    """The indices of `count` out of `size` images; every call returns the same indices."""
    index: NDArray[Any] = np.random.default_rng(0).permutation(size)[:count]
    return index
