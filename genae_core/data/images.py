"""What the datasets share about images: decoding, cropping and resizing.

Shapes: N images, C channels, H rows, W columns, S the side asked for, s that of a square.
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
LARGE = 2**20  # bytes of a square that is resized at once, not with others
MOST_PIXELS = 89_478_485  # Pillow's own guard against decompression bombs
ORIENTATION_HEADER = b"Exif\0\0"
PLAIN_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "La", "RGBa", "LAB")


def check_size(size: int) -> None:
    """Raise ValueError unless `size` is a side that the networks are built for."""
    valid = isinstance(size, int) and not isinstance(size, bool) and size in SIZES
    require(valid, "size must be 32 or 64", size=size)


def check_crop(crop: float) -> None:
    """Raise ValueError unless `crop` is a fraction of an image's shorter side."""
    number = isinstance(crop, int | float) and not isinstance(crop, bool)
    require(number and 0 < crop <= 1, "crop must be in (0, 1]", crop=crop)


def decode(
    content: bytes, size: int, crop: float, aspect: float | None = None, tolerance: float = 0.02
) -> NDArray[np.uint8]:
    """The central square of an image file, upright and in RGB: uint8 [s, s, 3].

    crop: the square's side as a fraction of the image's shorter side. size: what it will be
    resized to. aspect: the width by the height that the image must have, within a relative
    tolerance; None takes any.
    A large JPEG is decoded at the smallest of libjpeg's scales, from 1/2 down, that leaves the
    square at least S pixels wide; its square is then placed to half a decoded pixel. Raises
    ValueError for whatever is no whole image of 8 bits a channel.
    """
    image = _jpeg(content, size, crop, aspect, tolerance)
    if image is None:
        image = _any_format(content)
        _check_aspect(image.shape[0], image.shape[1], aspect, tolerance)
    square = centre_crop(image, max(1, round(crop * min(image.shape[:2]))))
    return square if square.nbytes <= LARGE else fit([square], size)[0].transpose(1, 2, 0)


def centre_crop(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The central `side` x `side` pixels of an [H, W, C] image; half a pixel goes up and left."""
    height, width = image.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def fit(squares: Sequence[NDArray[np.uint8]], size: int) -> NDArray[np.uint8]:
    """Squares [s, s, 3] of any sides, resized: uint8 [N, 3, S, S]."""
    sides = {len(square) for square in squares}
    if len(sides) == 1:
        return resize(np.stack(squares).transpose(0, 3, 1, 2), size)
    fitted = np.empty((len(squares), 3, size, size), np.uint8)
    for side in sides:
        rows = [row for row, square in enumerate(squares) if len(square) == side]
        fitted[rows] = fit([squares[row] for row in rows], size)
    return fitted


def resize(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Antialiased bilinear resizing: uint8 [N, C, H, W] to [N, C, S, S]."""
    if images.shape[2:] == (size, size):
        return images
    # Not at the top: what only lists and plans a dataset need not wait for torch.
    import torch
    from torch.nn import functional as F

    resized = np.empty((*images.shape[:2], size, size), np.uint8)
    for start in range(0, len(images), CHUNK):
        # torch wraps writable memory alone
        chunk = torch.from_numpy(np.require(images[start : start + CHUNK], requirements="W"))
        chunk = F.interpolate(chunk, (size, size), mode="bilinear", antialias=True)
        resized[start : start + CHUNK] = chunk.numpy()
    return resized


def _jpeg(
    content: bytes, size: int, crop: float, aspect: float | None, tolerance: float
) -> NDArray[np.uint8] | None:
    """The image [H, W, 3] by libjpeg-turbo; None for what it cannot turn into upright RGB."""
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
    try:  # strict by default: a cut file raises
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            content,
            "RGB",
            min_height=math.ceil(scale * height),
            min_width=math.ceil(scale * width),
            min_factor=2,  # 7/8 and the like cost more than they save
        )
    except ValueError as error:
        raise ValueError(f"not a whole JPEG file: {error}") from None
    return image


def _any_format(content: bytes) -> NDArray[np.uint8]:
    """The image [H, W, 3] by Pillow, turned as its EXIF orientation says."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what is checked or dropped here
            image = Image.open(io.BytesIO(content))
            _check_pixels(image.height, image.width)
            if image.mode not in PLAIN_MODES:
                raise ValueError(f"pixels of mode {image.mode}; expected 8 bits a channel")
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError:
        raise ValueError("not an image of a known format") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a whole image: {error}") from None
    return np.array(upright)


def _check_pixels(height: int, width: int) -> None:
    if height * width > MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels; at most {MOST_PIXELS:,} are read")


def _check_aspect(height: int, width: int, aspect: float | None, tolerance: float) -> None:
    if aspect is not None and abs(width / height / aspect - 1) > tolerance:
        raise ValueError(
            f"{width} x {height} pixels; expected a width of {aspect:.3f} times the height"
        )
