"""The features of images under an extractor, and the Gaussian that is fitted to them.

Shapes: N images, C channels, H rows, W columns, F features.
"""

import copy
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.data.base import Split
from genae_core.metrics.classifier import Classifier
from genae_core.metrics.fcd import Gaussian
from genae_core.metrics.pretrained import FeatureExtractor
from genae_core.training.batches import to_pixels

READ = 500  # images that are read at once
# Images that pass an extractor at once on a CPU, by the precision of the features. Their maps
# fit its cache, which saves a third of the time.
CPU_BATCH = {"fp32": 100, "bf16": 250}

Features = Callable[[Tensor], Tensor]


def features_of(extractor: FeatureExtractor, x: Tensor) -> Tensor:
    """The features [N, F] of images [N, C, H, W], float32, in a classifier's precision."""
    features: Features = extractor.features
    precision = "fp32"
    if isinstance(extractor, Classifier) and extractor.precision == "bf16":
        features, precision = _bf16_features(extractor), "bf16"
    size = CPU_BATCH[precision] if x.device.type == "cpu" else len(x)
    with torch.no_grad():
        return torch.cat([features(part) for part in torch.split(x, size)])


def _bf16_features(classifier: Classifier) -> Features:
    """The function that computes features in bfloat16. Its packed weights are made once."""
    if classifier not in _PACKED:
        _PACKED[classifier] = _pack(classifier)
    return _PACKED[classifier]


_PACKED: weakref.WeakKeyDictionary[Classifier, Features] = weakref.WeakKeyDictionary()


def _pack(classifier: Classifier) -> Features:
    """Copy the weights in bfloat16 and, for convolutions, as tensors of oneDNN.

    On a CPU with AMX, its convolutions and poolings of bfloat16 are four to five times as fast as
    those of float32.
    """
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        # A sweep that began on another CPU goes on here: its weights are the same.
        return copy.deepcopy(classifier).bfloat16().float().features
    hidden = copy.deepcopy(classifier.hidden).bfloat16()
    layers: list[nn.Module] = list(classifier.convolutions)[:-1]  # all but Flatten
    packed = {
        layer: [p.detach().contiguous().bfloat16().to_mkldnn() for p in layer.parameters()]
        for layer in layers
        if isinstance(layer, nn.Conv2d)
    }
    padding = classifier.config.kernel_size // 2

    def features(x: Tensor) -> Tensor:
        maps = x.bfloat16().to_mkldnn()
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                weight, bias = packed[layer]
                maps = torch.conv2d(maps, weight, bias, padding=padding)
            else:
                maps = layer(maps)
        return F.relu(hidden(maps.to_dense().flatten(1))).float()

    return features


def fit_features(
    extractor: FeatureExtractor,
    split: Split,
    count: int,
    binarize: bool,
    device: torch.device | str = "cpu",
) -> Gaussian:
    """Fit a Gaussian to the features of `count` seeded images of a split."""
    index = seeded_indices(len(split.images), count)
    gaussian = Gaussian(extractor.num_features)
    for first in range(0, count, READ):
        images = split.images[index[first : first + READ]]
        gaussian.update(features_of(extractor, to_pixels(images, binarize, torch.device(device))))
    return gaussian


def seeded_indices(size: int, count: int) -> NDArray[np.int64]:
    """The indices of `count` out of `size` images; every call returns the same indices."""
    index: NDArray[Any] = np.random.default_rng(0).permutation(size)[:count]
    return index
