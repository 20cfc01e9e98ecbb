"""Decoding image files of every kind, and refusing what is no image."""

import io

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from genae_core.data import images
from genae_core.data.images import decode, resize_squares, to_grey

LOSS = 6  # levels that JPEG and a change of colour space may move a flat colour by
HALVES = np.zeros((80, 60, 3), np.uint8)  # [H, W, C]: red above, blue below
HALVES[:40, :, 0], HALVES[40:, :, 2] = 255, 255


def encoded(image: Image.Image, kind: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)  # type: ignore[arg-type]
    return buffer.getvalue()


def flat(mode: str, colour: object, kind: str, **settings: object) -> bytes:
    return encoded(Image.new(mode, (70, 50), colour), kind, **settings)  # type: ignore[arg-type]


def read(
    content: bytes, size: int, crop: float = 1.0, aspect: float | None = None
) -> NDArray[np.uint8]:
    return resize_squares([decode(content, size, crop, aspect)], size)[0]


def assert_red_over_blue(image: NDArray[np.uint8]) -> None:
    red, _, blue = image.astype(int)
    assert (red[:14] > 200).all() and (blue[:14] < 60).all()
    assert (blue[18:] > 200).all() and (red[18:] < 60).all()


@pytest.mark.parametrize(
    ("content", "colour"),
    [
        (flat("RGB", (200, 100, 50), "JPEG", quality=95), (200, 100, 50)),
        (flat("L", 90, "JPEG", quality=95), (90, 90, 90)),
        (flat("CMYK", (0, 255, 255, 0), "JPEG", quality=95), (255, 0, 0)),
        (flat("RGB", (200, 100, 50), "PNG"), (200, 100, 50)),
        (flat("RGBA", (200, 100, 50, 255), "PNG"), (200, 100, 50)),
        (flat("L", 90, "PNG"), (90, 90, 90)),
        (flat("1", 1, "PNG"), (255, 255, 255)),
        (flat("P", 0, "GIF"), (0, 0, 0)),
        (flat("RGB", (200, 100, 50), "WEBP", lossless=True), (200, 100, 50)),
        (flat("RGB", (200, 100, 50), "BMP"), (200, 100, 50)),
        (flat("RGB", (200, 100, 50), "TIFF"), (200, 100, 50)),
    ],
)
def test_every_kind_becomes_rgb(content: bytes, colour: tuple[int, int, int]) -> None:
    image = read(content, 32)
    assert image.shape == (3, 32, 32) and image.dtype == np.uint8
    wanted = np.broadcast_to(np.array(colour)[:, None, None], image.shape)
    np.testing.assert_allclose(image.astype(int), wanted, atol=LOSS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_exif_orientation_is_followed(kind: str, orientation: int) -> None:
    """The stored pixels are the picture, turned so that the tag says how to turn it back."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(HALVES)
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_red_over_blue(read(encoded(stored, kind, exif=exif), 32))


def test_large_jpegs_are_decoded_small_and_look_the_same() -> None:
    """Against Pillow's full decoding and antialiased resizing of the same square."""
    rows, columns = np.mgrid[0:600, 0:800] / 60
    wave = np.stack([np.sin(rows), np.cos(columns), np.sin(rows + columns)], 2)
    image = Image.fromarray((127.5 + 127 * wave).astype(np.uint8))
    content = encoded(image, "JPEG", quality=95)
    square = image.crop((160, 60, 640, 540)).resize((64, 64), Image.Resampling.BILINEAR)
    difference = read(content, 64, 0.8).astype(int) - np.asarray(square).transpose(2, 0, 1)
    assert np.abs(difference).mean() < 4


def test_a_small_image_is_enlarged_and_a_fitting_one_is_left_alone() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    content = encoded(Image.fromarray(noise), "PNG")
    np.testing.assert_array_equal(read(content, 32), noise.transpose(2, 0, 1))
    assert read(content, 64).shape == (3, 64, 64)


def test_squares_of_any_sides_are_resized_together_as_they_are_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(0)
    squares = [
        generator.integers(0, 256, (side, side, 3), np.uint8) for side in (74, 32, 20, 74, 50, 20)
    ]
    together = resize_squares(squares, 32)
    for square, image in zip(squares, together, strict=True):
        np.testing.assert_array_equal(image, resize_squares([square], 32)[0])
    assert resize_squares([], 32).shape == (0, 3, 32, 32)
    # These two are now resized as they are decoded.
    monkeypatch.setattr(images, "MAX_BYTES_TOGETHER", 10_000)
    for square, image in zip(squares[::3], together[::3], strict=True):
        small = decode(encoded(Image.fromarray(square), "PNG"), 32, 1.0)
        assert small.shape == (32, 32, 3)
        np.testing.assert_array_equal(resize_squares([small], 32)[0], image)


JPEG = simplejpeg.encode_jpeg(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))
PNG = encoded(Image.fromarray(HALVES), "PNG")
EXIF = Image.Exif()
EXIF[0x0112] = 6
TURNED = encoded(Image.fromarray(HALVES), "JPEG", exif=EXIF)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an image of a known format"),
        (b"<html>not found</html>", "not an image of a known format"),
        (JPEG[:3], "not a whole JPEG file"),
        (JPEG[: len(JPEG) // 2], "not a whole JPEG file"),
        (JPEG[:-2], "not a whole JPEG file"),
        (TURNED[: len(TURNED) // 2], "not a whole image"),
        (PNG[: len(PNG) // 2], "not a whole image"),
        (PNG[:60] + bytes(12) + PNG[72:], "not a whole image"),
        (encoded(Image.new("I;16", (40, 40)), "PNG"), "expected 8 bits per channel"),
        (encoded(Image.new("F", (40, 40)), "TIFF"), "expected 8 bits per channel"),
    ],
)
def test_what_is_no_whole_image_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(content, 32)


@pytest.mark.parametrize("content", [JPEG, PNG])
def test_a_decompression_bomb_is_refused(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 1_000)
    with pytest.raises(ValueError, match="pixels; at most 1,000 are read"):
        read(content, 32)


@pytest.mark.parametrize("content", [JPEG, encoded(Image.new("RGB", (60, 60)), "PNG")])
def test_another_aspect_is_refused(content: bytes) -> None:
    assert read(content, 32, aspect=1.01).shape == (3, 32, 32)
    with pytest.raises(ValueError, match="60 x 60 pixels; expected a width of 0.817 times"):
        read(content, 32, aspect=178 / 218)


def test_grey_values_are_those_of_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    pixels[0] = np.arange(64, dtype=np.uint8)[:, None, None] * 4  # grey already
    grey = to_grey(pixels.transpose(0, 3, 1, 2))
    assert grey.shape == (4, 1, 64, 64)
    for image, values in zip(pixels, grey[:, 0], strict=True):
        np.testing.assert_array_equal(values, np.asarray(Image.fromarray(image).convert("L")))
    np.testing.assert_array_equal(grey[0, 0], pixels[0, :, :, 0])
