"""What every dataset gives: three labelled splits of uint8 images, held as numpy arrays.

Shapes: N images, C channels, H rows, W columns, A binary attributes.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Split(NamedTuple):
    """Images and their labels.

    images: uint8 [N, C, H, W], values 0..255.
    labels: int64 [N] (one class an image) or uint8 [N, A] (A attributes of 0 or 1 an image).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | NDArray[np.uint8]


class Splits(NamedTuple):
    """A dataset: train, then the two halves of the reference images.

    The Markov chain's step is chosen against `val` and reported against `test`.
    notes: what a user must know about these files (a partial set, a cut of our own), in plain
    sentences; whoever loads the data shows them.
    """

    train: Split
    val: Split
    test: Split
    notes: tuple[str, ...] = ()


class DataConfig(Protocol):
    """A dataset's config; one file a dataset. `load` raises ValueError for what the user's files
    get wrong: the path, what was expected, what was found and what to do."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""

    @property
    def binarize(self) -> bool:
        """Whether models and metrics see pixels thresholded at one half."""

    def load(self) -> Splits: ...


def to_pixels(images: NDArray[np.uint8], binarize: bool, device: torch.device) -> Tensor:
    """The float32 images in [0, 1] that a model sees, [N, C, H, W], from uint8 ones.

    Scaled by 1/255, or 1 where a binarised pixel is above one half and 0 elsewhere.
    """
    # Shared arrays are read-only, and torch wraps writable memory alone.
    raw = torch.from_numpy(images if images.flags.writeable else images.copy()).to(device)
    return (raw > 127).float() if binarize else raw.float() / 255


def halves(split: Split, seed: int) -> tuple[Split, Split]:
    """Cut a split in two disjoint halves by a seeded permutation (the first gets the odd one)."""
    order = np.random.default_rng(seed).permutation(len(split.images))
    cut = (len(order) + 1) // 2
    first, second = np.sort(order[:cut]), np.sort(order[cut:])
    return take(split, first), take(split, second)


def take(split: Split, index: NDArray[np.int64]) -> Split:
    """The images and labels at `index` (int64 [M])."""
    return Split(split.images[index], split.labels[index])
