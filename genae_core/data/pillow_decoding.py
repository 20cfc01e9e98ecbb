"""Decoding with Pillow, which runs in a process of its own (see `decoding_process`).

This file imports nothing of genae, neither numpy nor torch, so that the process starts quickly.
"""

import contextlib
import io
import json
import resource
import signal
import sys
import warnings
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from PIL import (
    AvifImagePlugin,
    Image,
    TiffImagePlugin,  # noqa: F401 - its import lets Pillow know the format, as does the next
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

# Pillow also opens formats for which it starts programs, such as EPS. These formats start none.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
PLAIN_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "La", "RGBa", "LAB")
GROUND = (255, 255, 255, 255)  # white, the ground of transparent pictures
ORIENTATION = 0x0112  # the EXIF tag
UPRIGHT = {  # how to turn a picture upright, by the value of the tag
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Image.preinit()  # lets Pillow know the other formats
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # A worker has one CPU.


class Square(NamedTuple):
    """The central square of a picture.

    Attributes:
        height: The height of the upright picture in pixels.
        width: Its width in pixels.
        pixels: The RGB bytes of the square, row by row.
    """

    height: int
    width: int
    pixels: bytes


def square_side(height: int, width: int, crop: float) -> int:
    """The side in pixels of the square that is `crop` times as wide as the shorter side."""
    return max(1, round(crop * min(height, width)))


def check_format(content: bytes) -> None:
    """Raise ValueError if a file does not begin like one of `FORMATS`."""
    begin = content[:16].ljust(16, b"\0")
    for name in FORMATS:
        _, accept = Image.OPEN.get(name, (None, None))
        if accept is not None and accept(begin):
            return
    raise ValueError(f"not an image of a known format ({', '.join(FORMATS)})")


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Raise ValueError for a picture that has no pixels, or would take too much memory."""
    if height < 1 or width < 1:
        raise ValueError(f"{width} x {height} pixels; a picture has at least one")
    if height * width > max_pixels:
        raise ValueError(f"{width} x {height} pixels; at most {max_pixels:,} are read")


def read_square(content: bytes, crop: float, max_pixels: int) -> Square:
    """Decode the central square of the first picture in a file, upright and in RGB.

    If the margins are odd, the square lies half a pixel up or to the left of the centre.
    Transparent pixels are laid on a white ground.

    Args:
        content: The bytes of the file.
        crop: The square's side as a fraction of the picture's shorter side.
        max_pixels: The largest number of pixels of a picture.

    Returns:
        The square.

    Raises:
        ValueError: The content is no complete picture of `FORMATS` with 8 bits per channel.
    """
    check_format(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of defects that are checked here.
            stored = Image.open(io.BytesIO(content), formats=FORMATS)
            check_pixels(stored.height, stored.width, max_pixels)
            if stored.mode not in PLAIN_MODES:
                raise ValueError(f"pixels of mode {stored.mode}; expected 8 bits per channel")
            stored.load()
            picture = _lay_on_ground(_turn_upright(stored))
    except UnidentifiedImageError:
        raise ValueError("not a whole image: Pillow cannot identify it") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a whole image: {error}") from None
    width, height = picture.size
    side = square_side(height, width, crop)
    left, top = (width - side) // 2, (height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return Square(height, width, square.tobytes())


def _turn_upright(picture: Image.Image) -> Image.Image:
    """Turn a loaded picture as its EXIF orientation says.

    `ImageOps.exif_transpose` does the same, but it also writes the other EXIF tags anew, which
    fails for many files. If the EXIF data cannot be read, the picture stays as it is.
    """
    try:
        method = UPRIGHT.get(picture.getexif().get(ORIENTATION, 1))
    except Exception:
        return picture
    return picture if method is None else picture.transpose(method)


def _lay_on_ground(picture: Image.Image) -> Image.Image:
    """The picture in RGB, with a white ground behind its transparent pixels.

    The colours of transparent pixels are arbitrary, and no viewer shows them.
    """
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    straight = {"La": "LA", "RGBa": "RGBA"}.get(picture.mode, picture.mode)
    if straight != picture.mode:
        picture = picture.convert(straight)
    ground = Image.new("RGBA", picture.size, GROUND)
    ground.alpha_composite(picture.convert("RGBA"))
    return ground.convert("RGB")


def serve(descriptor: str, max_seconds: str, max_bytes: str) -> None:
    """Decode the files that come through a pipe, until its end."""
    _limit_memory(int(max_bytes))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # It ends the process even in a library's loop.
    with Connection(int(descriptor)) as connection, contextlib.suppress(EOFError, OSError):
        connection.send_bytes(b"ready")
        while True:
            request = json.loads(connection.recv_bytes())
            content = connection.recv_bytes()
            signal.setitimer(signal.ITIMER_PROF, float(max_seconds))
            answer, pixels = _answer(content, request)
            signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send_bytes(json.dumps(answer).encode())
            connection.send_bytes(pixels)


def _answer(content: bytes, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The two parts of the answer: the size or the reason against the file, and the pixels."""
    try:
        square = read_square(content, **request)
    except ValueError as error:
        return {"reason": str(error)}, b""
    except MemoryError:
        return {"reason": "decoding it takes more memory than is allowed"}, b""
    except Exception as error:  # Pillow lets many errors through for a file that is damaged.
        return {"reason": f"not a whole image: {type(error).__name__}: {error}"}, b""
    return {"height": square.height, "width": square.width}, square.pixels


def _limit_memory(max_bytes: int) -> None:
    """Limit the memory of this process."""
    _, highest = resource.getrlimit(resource.RLIMIT_DATA)
    if highest != resource.RLIM_INFINITY:
        max_bytes = min(max_bytes, highest)
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit.
        resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, highest))


if __name__ == "__main__":
    serve(*sys.argv[1:])
