"""What the loaders share about images: cropping and resizing.

Shapes: N images, C channels, H rows, W columns, S the side asked for.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from genae_core.config import require

SIZES = (32, 64)
CHUNK = 512


def check_size(size: int) -> None:
    """Raise ValueError unless `size` is a side that the networks are built for."""
    valid = isinstance(size, int) and not isinstance(size, bool) and size in SIZES
    require(valid, "size must be 32 or 64", size=size)


def centre_crop(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The central `side` x `side` pixels of an [H, W, C] image; half a pixel goes up and left."""
    height, width = image.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def resize(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Antialiased bilinear resizing, rounded: uint8 [N, C, H, W] to [N, C, S, S], in chunks."""
    resized = np.empty((*images.shape[:2], size, size), np.uint8)
    for start in range(0, len(images), CHUNK):
        chunk = torch.from_numpy(np.ascontiguousarray(images[start : start + CHUNK])).float()
        if chunk.shape[2:] != (size, size):
            chunk = F.interpolate(chunk, (size, size), mode="bilinear", antialias=True)
        resized[start : start + CHUNK] = chunk.round().clamp(0, 255).byte().numpy()
    return resized
