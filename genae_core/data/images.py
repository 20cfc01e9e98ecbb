"""Functions that decode, crop and resize images, for all datasets.

Shapes: N images, C channels, H rows, W columns, S the final side, s the side of a square.
"""

import math
from collections.abc import Sequence

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from genae_core.config import require
from genae_core.data.decoding_process import DECODING
from genae_core.data.pillow_decoding import check_format, check_pixels, square_side

MAX_SIZE = 1024  # pixels; one image of this size takes 3 MiB
CHUNK = 512
MAX_BYTES_TOGETHER = 2**20  # A square of more bytes is resized alone and not with others.
MAX_PIXELS = 89_478_485  # Pillow has the same limit, against decompression bombs.
MAX_SCANS = 64  # A progressive JPEG of thousands of scans takes hours.
ORIENTATION_SIGNS = (b"Exif\0\0", b"tiff:Orientation")  # of EXIF, and of XMP


def check_size(size: int) -> None:
    """Raise ValueError unless `size` is a side that the convolutional networks can take."""
    is_valid = isinstance(size, int) and not isinstance(size, bool)
    is_valid = is_valid and (size == 28 or (size % 8 == 0 and 8 <= size <= MAX_SIZE))
    require(is_valid, f"size must be 28 or a multiple of 8 up to {MAX_SIZE}", size=size)


def check_crop(crop: float) -> None:
    """Raise ValueError unless `crop` is a fraction of an image's shorter side."""
    is_number = isinstance(crop, int | float) and not isinstance(crop, bool)
    require(is_number and 0 < crop <= 1, "crop must be in (0, 1]", crop=crop)


def decode(
    content: bytes, size: int, crop: float, aspect: float | None = None, tolerance: float = 0.02
) -> NDArray[np.uint8]:
    """Decode the central square of an image file, upright and in RGB.

    A large JPEG is decoded at a reduced scale: the smallest scale of libjpeg, 1/2 or less, at
    which the square is at least S pixels wide. The position of the square is then exact to half a
    decoded pixel.

    A plain JPEG is decoded here. All others are decoded with Pillow, in a process that has limits
    of time and memory.

    Args:
        content: The bytes of the file.
        size: The side S in pixels that the square will be resized to.
        crop: The square's side as a fraction of the image's shorter side.
        aspect: The required ratio of width to height; None accepts any.
        tolerance: The relative tolerance of the aspect.

    Returns:
        uint8 [s, s, 3].

    Raises:
        ValueError: The content is not a complete image with 8 bits per channel, the image has
            another aspect, or decoding it exceeds a limit.
        NotStartedError: The process that decodes with Pillow cannot be started.
    """
    image = _jpeg(content, size=size, crop=crop, aspect=aspect, tolerance=tolerance)
    if image is not None:
        square = centre_crop(image, square_side(image.shape[0], image.shape[1], crop))
    else:
        check_format(content)  # here too, so that no process is started for other files
        height, width, pixels = DECODING.read_square(content, crop, MAX_PIXELS)
        _check_aspect(height, width, aspect, tolerance)
        side = square_side(height, width, crop)
        square = np.frombuffer(pixels, np.uint8).reshape(side, side, 3)
    return (
        square
        if square.nbytes <= MAX_BYTES_TOGETHER
        else resize_squares([square], size)[0].transpose(1, 2, 0)
    )


def centre_crop(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The central `side` x `side` pixels of an image [H, W, C].

    If the margins are odd, the square lies half a pixel up or to the left of the centre.
    """
    height, width = image.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def resize_squares(squares: Sequence[NDArray[np.uint8]], size: int) -> NDArray[np.uint8]:
    """Resize N squares, uint8 [s, s, 3] with any sides s, to uint8 [N, 3, S, S]."""
    sides = {len(square) for square in squares}
    if len(sides) == 1:
        return resize(np.stack(squares).transpose(0, 3, 1, 2), size)
    resized = np.empty((len(squares), 3, size, size), np.uint8)
    for side in sides:
        rows = [row for row, square in enumerate(squares) if len(square) == side]
        resized[rows] = resize_squares([squares[row] for row in rows], size)
    return resized


def to_grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The luma of RGB images [N, 3, H, W], as [N, 1, H, W] (ITU-R BT.601, as in Pillow).

    An image whose three channels are equal keeps its values.
    """
    red, green, blue = (images[:, channel].astype(np.uint32) for channel in range(3))
    luma = (19595 * red + 38470 * green + 7471 * blue + 2**15) >> 16  # The weights add up to 2^16.
    return luma.astype(np.uint8)[:, None]


def resize(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize images bilinearly and antialiased, from uint8 [N, C, H, W] to [N, C, S, S]."""
    if images.shape[2:] == (size, size):
        return images
    # The import is here, because a process that only lists and plans a dataset does not need
    # torch.
    import torch
    from torch.nn import functional as F

    resized = np.empty((*images.shape[:2], size, size), np.uint8)
    for start in range(0, len(images), CHUNK):
        # torch wraps writable memory only.
        chunk = torch.from_numpy(np.require(images[start : start + CHUNK], requirements="W"))
        chunk = F.interpolate(chunk, (size, size), mode="bilinear", antialias=True)
        resized[start : start + CHUNK] = chunk.numpy()
    return resized


def _jpeg(
    content: bytes, size: int, crop: float, aspect: float | None, tolerance: float
) -> NDArray[np.uint8] | None:
    """The image [H, W, 3], decoded by libjpeg-turbo; None if Pillow has to decode it."""
    is_jpeg = content.startswith(b"\xff\xd8\xff")
    if not is_jpeg or any(sign in content for sign in ORIENTATION_SIGNS):
        return None
    if content.count(b"\xff\xda") > MAX_SCANS:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    except Exception as error:
        raise ValueError(f"not a whole JPEG file: {error}") from None
    if colours in ("CMYK", "YCCK"):
        return None
    check_pixels(height, width, MAX_PIXELS)
    _check_aspect(height, width, aspect, tolerance)
    scale = min(1.0, size / square_side(height, width, crop))
    try:  # By default, simplejpeg raises an error for an incomplete file.
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            content,
            "RGB",
            min_height=math.ceil(scale * height),
            min_width=math.ceil(scale * width),
            min_factor=2,  # Scales such as 7/8 cost more time than they save.
        )
    except Exception as error:
        raise ValueError(f"not a whole JPEG file: {error}") from None
    return image


def _check_aspect(height: int, width: int, aspect: float | None, tolerance: float) -> None:
    """Raise ValueError if the image must have another ratio of width to height."""
    if aspect is not None and abs(width / height / aspect - 1) > tolerance:
        raise ValueError(
            f"{width} x {height} pixels; expected a width of {aspect:.3f} times the height"
        )
