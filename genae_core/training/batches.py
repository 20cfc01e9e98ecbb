"""Batches of a training split, as a model sees them.

Shapes: N images, B of a batch, C channels, H rows, W columns.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.data.base import Split
from genae_core.data.shard_images import StreamedImages
from genae_core.distributions.rng import Draw
from genae_core.models.base import Batch, Examples

DEVICE_SHARE = 0.5  # of a GPU's free memory that the images may take


class Batches:
    """The first `count` of a split, gathered by index as float32 [B, C, H, W] in [0, 1] beside
    their labels.

    num_labelled: classes are hidden, as -1, in all images after the first so many (None: in
    none). On a GPU the images go to the device once, as uint8, where they fit in half of its free
    memory, and batches are gathered there.
    """

    def __init__(
        self,
        split: Split,
        count: int,
        binarize: bool,
        device: torch.device,
        num_labelled: int | None = None,
    ) -> None:
        images = split.images
        self.images = images
        labels = split.labels[:count].copy()
        if num_labelled is not None:
            labels[num_labelled:] = -1
        self.labels = torch.from_numpy(labels).to(device)
        self.count = count
        self.binarize = binarize
        self.device = device
        self.resident: Tensor | None = None
        if device.type == "cuda" and isinstance(images, np.ndarray):
            free, _ = torch.cuda.mem_get_info(device)
            if images[:count].nbytes <= DEVICE_SHARE * free:
                self.place()

    def place(self) -> None:
        """Put the images on the device."""
        assert isinstance(self.images, np.ndarray)
        self.resident = torch.from_numpy(self.images[: self.count].copy()).to(self.device)

    def order(self, draw: Draw) -> NDArray[np.int64]:
        """An epoch's order, int64 [N]: any, or one that a stream can follow."""
        if isinstance(self.images, StreamedImages):
            return self.images.order(self.count, draw)
        order: NDArray[np.int64] = draw.permutation(self.count).cpu().numpy()
        return order

    def __call__(self, index: NDArray[np.int64]) -> Batch:
        """The images and labels at int64 [B]."""
        # Not to wait: what is left to do of the last step hides what this one begins with.
        rows = torch.from_numpy(index).to(self.device, non_blocking=True)
        if self.resident is None:
            x = to_pixels(self.images[index], self.binarize, self.device)
        else:
            x = scaled(self.resident[rows], self.binarize)
        return Batch(x, self.labels[rows])

    def examples(self) -> Examples:
        """What `training.fit` takes."""
        return Examples(self.count, self, self.order)


def to_pixels(images: NDArray[np.uint8], binarize: bool, device: torch.device) -> Tensor:
    """The float32 images in [0, 1] that a model sees, [N, C, H, W], from uint8 ones.

    Scaled by 1/255, or 1 where a binarised pixel is above one half and 0 elsewhere.
    """
    # Shared arrays are read-only, and torch wraps writable memory alone.
    raw = torch.from_numpy(images if images.flags.writeable else images.copy())
    raw = raw.to(device, non_blocking=True)
    return scaled(raw, binarize)


def scaled(raw: Tensor, binarize: bool) -> Tensor:
    """uint8 pixels as float32 ones, as `to_pixels` gives them."""
    # The highest bit: torch compares bytes eight times slower than it shifts them.
    return (raw >> 7).float() if binarize else raw.float().div_(255)
