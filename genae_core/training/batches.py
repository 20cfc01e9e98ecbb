"""The batches of a training split, in the form that a model takes.

Shapes: N images, B batch, C channels, H rows, W columns.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.data.base import Split
from genae_core.data.shard_images import StreamedImages
from genae_core.distributions.rng import Draw
from genae_core.models.base import Batch, Examples

DEVICE_FRACTION = 0.5  # the fraction of a GPU's free memory that the images may take


class Batches:
    """Gathers batches of the first images of a split, with their labels.

    If the images take at most half of a GPU's free memory, they are copied to the GPU once, as
    uint8, and batches are gathered there.

    Args:
        split: The images and their labels.
        count: The number N of images.
        binarize: Whether grey pixels are rounded to 0 or 1.
        device: The device of the batches.
        num_labelled: The number of images whose labels are kept; the labels of the others are
            replaced by -1. None keeps all labels.
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
        self.images_on_device: Tensor | None = None
        if device.type == "cuda" and isinstance(images, np.ndarray):
            free, _ = torch.cuda.mem_get_info(device)
            if images[:count].nbytes <= DEVICE_FRACTION * free:
                self.copy_to_device()

    def copy_to_device(self) -> None:
        """Copy all images to the device, so that batches are gathered there."""
        assert isinstance(self.images, np.ndarray)
        self.images_on_device = torch.from_numpy(self.images[: self.count].copy()).to(self.device)

    def order(self, draw: Draw) -> NDArray[np.int64]:
        """Draw the order of the images in an epoch, int64 [N].

        Streamed images have an order that reads each part of the stream once.
        """
        if isinstance(self.images, StreamedImages):
            return self.images.order(self.count, draw)
        order: NDArray[np.int64] = draw.permutation(self.count).cpu().numpy()
        return order

    def __call__(self, index: NDArray[np.int64]) -> Batch:
        """The images [B, C, H, W] in [0, 1] at the int64 indices [B], with their labels."""
        # With non_blocking, the GPU can finish the last step while this batch is gathered.
        rows = torch.from_numpy(index).to(self.device, non_blocking=True)
        if self.images_on_device is None:
            x = to_pixels(self.images[index], self.binarize, self.device)
        else:
            x = scale_pixels(self.images_on_device[rows], self.binarize)
        return Batch(x, self.labels[rows])

    def examples(self) -> Examples:
        """The training set that `fit` takes."""
        return Examples(self.count, self, self.order)


def to_pixels(images: NDArray[np.uint8], binarize: bool, device: torch.device) -> Tensor:
    """Convert images to the form that a model takes.

    Args:
        images: uint8 images [N, C, H, W].
        binarize: Whether a pixel becomes 1 if it is at least 128, and 0 otherwise. If not, it is
            divided by 255.
        device: The device of the result.

    Returns:
        float32 images [N, C, H, W] in [0, 1].
    """
    # torch wraps writable memory only, and shared arrays are read-only.
    raw = torch.from_numpy(images if images.flags.writeable else images.copy())
    raw = raw.to(device, non_blocking=True)
    return scale_pixels(raw, binarize)


def scale_pixels(raw: Tensor, binarize: bool) -> Tensor:
    """Convert uint8 pixels to float32 pixels in [0, 1], as `to_pixels` does."""
    # The highest bit of a pixel is its binarised value. torch shifts bytes eight times faster than
    # it compares them.
    return (raw >> 7).float() if binarize else raw.float().div_(255)
