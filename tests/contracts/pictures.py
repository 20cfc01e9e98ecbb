"""Pictures of every format, damaged in every way by a seed; for the tests of reading."""

import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

EXIF_HEADER = b"Exif\0\0"


class Damaged(NamedTuple):
    """A damaged file.

    Attributes:
        name: The format, the kind of damage and a number.
        content: The bytes.
        whole: The pixels [H, W, 3] of the picture, if the damage leaves them as they were.
    """

    name: str
    content: bytes
    whole: NDArray[np.uint8] | None


def paint(seed: int, height: int = 40, width: int = 48) -> Image.Image:
    """A smooth RGB picture with some noise."""
    rows, columns = np.mgrid[:height, :width]
    base = np.stack([columns * 5, rows * 6, np.full_like(rows, 40 * seed % 256)], -1)
    noise = np.random.default_rng(seed).integers(0, 15, base.shape)
    return Image.fromarray((base + noise).clip(0, 255).astype(np.uint8))


def encode(picture: Image.Image, kind: str, **settings: object) -> bytes:
    """The bytes of a file of a format of Pillow."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)  # type: ignore[arg-type]
    return buffer.getvalue()


def tiff_block(*entries: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block with entries (tag, type, count, four bytes of the value or its offset)."""
    body = b"".join(
        struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
        for tag, kind, count, value in entries
    )
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + bytes(4)


def orientation(value: int) -> tuple[int, int, int, bytes]:
    """The entry of an EXIF block that says how a picture is turned."""
    return (0x0112, 3, 1, struct.pack("<H", value))


def add_segments(jpeg: bytes, *payloads: bytes) -> bytes:
    """A JPEG file with APP1 segments, such as EXIF blocks, in front."""
    segments = (b"\xff\xe1" + struct.pack(">H", len(each) + 2) + each for each in payloads)
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def add_exif(jpeg: bytes, block: bytes) -> bytes:
    """A JPEG file with an EXIF block."""
    return add_segments(jpeg, EXIF_HEADER + block)


def seed_files() -> dict[str, bytes]:
    """A whole file of each format that is read, in its common variants."""
    picture, second = paint(1), paint(2)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00", 0xA002: 48}
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    xmp = b'<x:xmpmeta tiff:Orientation="6"/>'
    clear = picture.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    files = {
        "plain.jpg": encode(picture, "JPEG"),
        "progressive.jpg": encode(picture, "JPEG", progressive=True),
        "cmyk.jpg": encode(picture.convert("CMYK"), "JPEG"),
        "grey.jpg": encode(picture.convert("L"), "JPEG"),
        "exif.jpg": encode(picture, "JPEG", exif=exif),
        "xmp.jpg": encode(picture, "JPEG", exif=exif, xmp=xmp),
        "two.mpo": encode(picture, "MPO", save_all=True, append_images=[second]),
        "plain.png": encode(picture, "PNG"),
        "palette.png": encode(picture.convert("P"), "PNG", transparency=3),
        "clear.png": encode(clear, "PNG"),
        "exif.png": encode(picture, "PNG", exif=exif),
        "plain.gif": encode(picture.convert("P"), "GIF"),
        "moving.gif": encode(picture, "GIF", save_all=True, append_images=[second]),
        "plain.bmp": encode(picture, "BMP"),
        "palette.bmp": encode(picture.convert("P"), "BMP"),
        "plain.ppm": encode(picture, "PPM"),
        "grey.pgm": encode(picture.convert("L"), "PPM"),
        "text.ppm": b"P3 4 4 255\n" + b" ".join(b"%d" % n for n in range(48)) + b"\n",
        "plain.tif": encode(picture, "TIFF"),
        "lzw.tif": encode(picture, "TIFF", compression="tiff_lzw"),
        "deflate.tif": encode(picture, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": encode(picture, "TIFF", compression="jpeg"),
        "plain.webp": encode(picture, "WEBP"),
        "clear.webp": encode(clear, "WEBP", lossless=True, exif=exif),
        "moving.webp": encode(picture, "WEBP", save_all=True, append_images=[second]),
    }
    if features.check("avif"):
        files["plain.avif"] = encode(picture, "AVIF", speed=10)
        files["exif.avif"] = encode(picture, "AVIF", speed=10, exif=exif)
    return files


def damage(count: int, seed: int) -> Iterator[Damaged]:
    """Damage `count` files, each format and each kind of damage in turn."""
    generator = np.random.default_rng(seed)
    files = seed_files()
    names = list(files)
    jpegs = [name for name in names if name.endswith(".jpg")]
    pixels = {name: decode_jpeg(files[name]) for name in jpegs}
    for number in range(count):
        name = names[number % len(names)]
        content, whole = files[name], None
        kind = ("cut", "flip", "header", "foreign", "exif", "longer")[number // len(names) % 6]
        if kind == "exif":
            name = jpegs[number % len(jpegs)]
            block = generator.bytes(int(generator.integers(0, 200)))
            if generator.random() < 0.7:  # well formed, with nonsense in it
                block = tiff_block(*(_entry(generator) for _ in range(generator.integers(1, 8))))
            content = add_exif(_without_segments(files[name]), block)
            whole = pixels[name]
        elif kind == "foreign":
            other = files[names[int(generator.integers(len(names)))]]
            cut = int(generator.integers(1, len(content)))
            content = content[:cut] + other
        elif kind == "longer":
            content += generator.bytes(int(generator.integers(1, 300)))
        elif kind == "cut":
            content = content[: int(generator.integers(0, len(content)))]
        else:
            content = _flip(content, 200 if kind == "header" else len(content), generator)
        yield Damaged(f"{number:05}-{kind}-{name}", content, whole)


def decode_jpeg(content: bytes) -> NDArray[np.uint8]:
    """The pixels of a JPEG file as Pillow decodes them, however it is turned."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _flip(content: bytes, end: int, generator: np.random.Generator) -> bytes:
    """Replace some of the first `end` bytes."""
    changed = bytearray(content)
    for _ in range(int(generator.integers(1, 9))):
        extreme = int(generator.choice([0, 1, 127, 255]))
        value = int(generator.integers(256)) if generator.random() < 0.7 else extreme
        changed[int(generator.integers(min(end, len(changed))))] = value
    return bytes(changed)


def _entry(generator: np.random.Generator) -> tuple[int, int, int, bytes]:
    """An EXIF entry with a tag that Pillow knows, and any type, count and value."""
    tags = [0x0112, 0x010F, 0x011A, 0x011B, 0x0128, 0x8769, 0x8825, 0xA005, 0x02BC, 0x9286, 0x927C]
    count = int(generator.choice([0, 1, 2, 3, 1000, 2**31, 2**32 - 1]))
    kind = int(generator.integers(0, 15))
    return (int(generator.choice(tags)), kind, count, generator.bytes(4))


def _without_segments(jpeg: bytes) -> bytes:
    """A JPEG file without the APP1 segments at its front."""
    rest = jpeg[2:]
    while rest[:1] == b"\xff" and rest[1] in (0xE0, 0xE1):
        rest = rest[2 + struct.unpack(">H", rest[2:4])[0] :]
    return jpeg[:2] + rest
