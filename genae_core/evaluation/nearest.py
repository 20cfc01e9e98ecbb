"""How far samples are from the nearest training image: a sampler that copies is not better.

Shapes: N images, C channels, H rows, W columns.
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from genae_core.config import from_json, register, require_positive_int, to_json
from genae_core.config.home import home
from genae_core.data.base import DataConfig, Split, Splits
from genae_core.data.load import LoadOptions, load_splits
from genae_core.distributions.rng import Draw
from genae_core.training.batches import to_pixels

BLOCK = 5_000  # training images that are compared at a time


def nearest_distance(x: Tensor, split: Split, binarize: bool) -> Tensor:
    """The Euclidean distance of each image [N, C, H, W] to the nearest image of a split, [N].

    Args:
        x: Images.
        split: The images that they are compared with.
        binarize: Whether the pixels of the split are thresholded at one half.
    """
    nearest = torch.full((len(x),), math.inf, device=x.device)
    for first in range(0, len(split.images), BLOCK):
        index = np.arange(first, min(first + BLOCK, len(split.images)))
        pixels = to_pixels(split.images[index], binarize, x.device)
        distances = torch.cdist(x.flatten(1), pixels.flatten(1))
        nearest = torch.minimum(nearest, distances.amin(1))
    return nearest


@register("metric.nearest_training")
@dataclass(frozen=True, kw_only=True)
class NearestTraining:
    """The mean distance of samples to their nearest training images, divided by that of real
    images that the model has not seen.

    It is a `SampleMetric`. Below 1 the samples are closer to the training images than new images
    are; 0 is a copy. Smooth images are a little closer than sharp ones.

    Args:
        data: The dataset, which must be that of the experiment.
        images: The number of samples, and of real images.
        shards: The folder or URI of its shards; None is that in GENAE_HOME.

    Raises:
        ValueError: The number is not a whole number >= 1.
    """

    data: DataConfig
    images: int = 500
    shards: str | None = None

    def __post_init__(self) -> None:
        require_positive_int(images=self.images)

    @property
    def name(self) -> str:
        return "nearest_training"

    @property
    def better(self) -> Literal["lower", "higher"]:
        return "higher"

    def measure(self, generated: Tensor, real: Tensor, draw: Draw) -> float:
        train = _read(to_json(self.data), self.shards).train
        both = torch.cat([generated[: self.images], real[: self.images]])
        distances = nearest_distance(both, train, self.data.binarize)
        count = len(generated[: self.images])
        return float(distances[:count].mean() / distances[count:].mean())


@functools.lru_cache(maxsize=1)
def _read(data: str, shards: str | None) -> Splits:
    """The images of a dataset, whose config is JSON."""
    return load_splits(from_json(data), home(), LoadOptions(shards=shards))
