"""Rows of a dataset whose images are image files, or the bytes of such files.

Shapes: N images, S the final side, A binary attributes.
"""

import hashlib
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.data.base import Rejected, Rows
from genae_core.data.decoding_process import NotStartedError
from genae_core.data.images import decode, resize_squares, to_grey
from genae_core.data.names import escape_name

# This number of images is resized together, which takes a third of the time of one by one.
RESIZED_TOGETHER = 64
UNREADABLE = "cannot be read"
MAX_REASON = 300  # characters


class Decoding(NamedTuple):
    """How images are decoded.

    Attributes:
        size: As in `images.decode`, like crop and aspect.
        crop: The side of the square as a fraction of the image's shorter side.
        aspect: The required ratio of width to height; None accepts any.
        grey: Whether the images become grey values, with one channel.
    """

    size: int
    crop: float = 1.0
    aspect: float | None = None
    grey: bool = False


def decode_rows(
    contents: Iterable[bytes | Exception],
    names: Sequence[str],
    labels: NDArray[np.int64] | NDArray[np.uint8],
    decoding: Decoding,
) -> Rows:
    """Decode images.

    Args:
        contents: The bytes of each image, or the error in their place if it cannot be read.
        names: The name of each image, which says where it comes from.
        labels: The labels, int64 [N] or uint8 [N, A].
        decoding: How they are decoded.

    Returns:
        The rows that can be used, and the reason against each other one.
    """
    size = decoding.size
    images = np.empty((len(names), 3, size, size), np.uint8)
    usable: list[int] = []
    squares: list[NDArray[np.uint8]] = []
    rejected = []
    digest = hashlib.sha256()
    seconds = {"read": 0.0, "decode": 0.0}
    clock = time.perf_counter
    began = clock()
    for row, content in enumerate(contents):
        seconds["read"] += clock() - began
        began = clock()
        if isinstance(content, bytes):
            digest.update(len(content).to_bytes(8, "little"))
            digest.update(content)
        square = _decode(content, decoding)
        if isinstance(square, str):
            rejected.append(Rejected(escape_name(names[row]), escape_name(square)))
        else:
            squares.append(square)
            usable.append(row)
        if len(squares) == RESIZED_TOGETHER or row == len(names) - 1:
            images[len(usable) - len(squares) : len(usable)] = resize_squares(squares, size)
            squares.clear()
        seconds["decode"] += clock() - began
        began = clock()
    images = images[: len(usable)]
    return Rows(
        images=to_grey(images) if decoding.grey else images,
        labels=labels[usable],
        names=[escape_name(names[row]) for row in usable],
        rejected=rejected,
        digest=digest.hexdigest(),
        seconds=seconds,
    )


def _decode(content: bytes | Exception, decoding: Decoding) -> NDArray[np.uint8] | str:
    """The square of an image, or the reason why it has none."""
    if isinstance(content, Exception):
        return f"{UNREADABLE}: {getattr(content, 'strerror', None) or content}"
    try:
        return decode(content, decoding.size, decoding.crop, decoding.aspect)
    except NotStartedError:
        raise
    except Exception as error:  # No file ends a job, whatever a library raises.
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return f"{kind}{error}"[:MAX_REASON]
