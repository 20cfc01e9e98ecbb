"""Functions that decode, crop and resize images, for all datasets.

Shapes: N images, C channels, H rows, W columns, S the final side, s the side of a square.
"""

import io
import math
import warnings
from collections.abc import Sequence

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from genae_core.config import require

SIZES = (32, 64)
CHUNK = 512
MAX_BYTES_TOGETHER = 2**20  # A square of more bytes is resized alone and not with others.
MAX_PIXELS = 89_478_485  # Pillow has the same limit, against decompression bombs.
ORIENTATION_HEADER = b"Exif\0\0"
PLAIN_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "La", "RGBa", "LAB")


def check_size(size: int) -> None:
    """Raise ValueError unless `size` is a side that the networks can take."""
    is_valid = isinstance(size, int) and not isinstance(size, bool) and size in SIZES
    require(is_valid, "size must be 32 or 64", size=size)


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

    Args:
        content: The bytes of the file.
        size: The side S in pixels that the square will be resized to.
        crop: The square's side as a fraction of the image's shorter side.
        aspect: The required ratio of width to height; None accepts any.
        tolerance: The relative tolerance of the aspect.

    Returns:
        uint8 [s, s, 3].

    Raises:
        ValueError: The content is not a complete image with 8 bits per channel, or the image has
            another aspect.
    """
    image = _jpeg(content, size=size, crop=crop, aspect=aspect, tolerance=tolerance)
    if image is None:
        image = _any_format(content)
        _check_aspect(image.shape[0], image.shape[1], aspect, tolerance)
    square = centre_crop(image, max(1, round(crop * min(image.shape[:2]))))
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
    """The image [H, W, 3], decoded by libjpeg-turbo; None if it cannot give upright RGB."""
    if not content.startswith(b"\xff\xd8\xff") or ORIENTATION_HEADER in content[:65_536]:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    except ValueError as error:
        raise ValueError(f"not a whole JPEG file: {error}") from None
    if colours in ("CMYK", "YCCK"):
        return None
    _check_pixels(height, width)
    _check_aspect(height, width, aspect, tolerance)
    scale = min(1.0, size / max(1, round(crop * min(height, width))))
    try:  # By default, simplejpeg raises an error for an incomplete file.
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            content,
            "RGB",
            min_height=math.ceil(scale * height),
            min_width=math.ceil(scale * width),
            min_factor=2,  # Scales such as 7/8 cost more time than they save.
        )
    except ValueError as error:
        raise ValueError(f"not a whole JPEG file: {error}") from None
    return image


def _any_format(content: bytes) -> NDArray[np.uint8]:
    """The image [H, W, 3], decoded by Pillow and turned upright by its EXIF orientation."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of defects that are checked here.
            image = Image.open(io.BytesIO(content))
            _check_pixels(image.height, image.width)
            if image.mode not in PLAIN_MODES:
                raise ValueError(f"pixels of mode {image.mode}; expected 8 bits per channel")
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError:
        raise ValueError("not an image of a known format") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a whole image: {error}") from None
    return np.array(upright)


def _check_pixels(height: int, width: int) -> None:
    """Raise ValueError for an image that would take too much memory."""
    if height * width > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels; at most {MAX_PIXELS:,} are read")


def _check_aspect(height: int, width: int, aspect: float | None, tolerance: float) -> None:
    """Raise ValueError if the image must have another ratio of width to height."""
    if aspect is not None and abs(width / height / aspect - 1) > tolerance:
        raise ValueError(
            f"{width} x {height} pixels; expected a width of {aspect:.3f} times the height"
        )
