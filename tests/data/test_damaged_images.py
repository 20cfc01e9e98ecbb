"""No picture ends a job: each is decoded as viewers show it, or rejected with a reason."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from contracts.pictures import (
    EXIF_HEADER,
    Damaged,
    add_exif,
    add_segments,
    damage,
    decode_jpeg,
    encode,
    orientation,
    seed_files,
    tiff_block,
)
from numpy.typing import NDArray
from PIL import Image, ImageOps

from genae_core.data import images
from genae_core.data.file_source import FileSource
from genae_core.data.images import centre_crop, decode
from genae_core.data.pillow_decoding import FORMATS
from genae_core.data.storage import Folder

LOSS = 3  # levels by which two decoders of JPEG may differ
COUNT = 300


def show(content: bytes) -> NDArray[np.uint8] | None:
    """The picture as Pillow's own functions show it on a white ground; None if they fail."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content), formats=FORMATS))
            ground = Image.new("RGBA", picture.size, "white")
            if picture.has_transparency_data:
                ground.alpha_composite(picture.convert("RGBA"))
                picture = ground
            return np.asarray(picture.convert("RGB"))
    except Exception:
        return None


def turns(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The eight ways in which a picture can be turned."""
    flipped = (pixels, pixels[:, ::-1])
    return [np.rot90(each, quarter) for each in flipped for quarter in range(4)]


def differ(square: NDArray[np.uint8], picture: NDArray[np.uint8]) -> bool:
    """Whether a square is not the centre of a picture."""
    wanted = centre_crop(picture, min(picture.shape[:2]))
    if square.shape != wanted.shape:
        return True
    return bool(np.abs(square.astype(int) - wanted).max(initial=0) > LOSS)


def check(file: Damaged) -> bool:
    """Whether the file is decoded. Fails if it is decoded to another picture, or if anything but
    a ValueError with a reason comes out."""
    try:
        square = decode(file.content, 32, 1.0)
    except ValueError as error:
        assert str(error), file.name
        return False
    if file.whole is not None:
        assert not all(differ(square, turned) for turned in turns(file.whole)), file.name
    shown = show(file.content)
    if shown is not None:
        assert not differ(square, shown), file.name
    else:
        assert file.whole is not None, f"{file.name} is decoded, though Pillow cannot show it"
    return True


@pytest.mark.parametrize("name", seed_files())
def test_a_whole_file_of_each_format_is_decoded(name: str) -> None:
    content = seed_files()[name]
    shown = show(content)
    assert shown is not None and not differ(decode(content, 32, 1.0), shown)


RESOLUTION = (0x011A, 2, 3, b"72\0")  # text where a fraction belongs
MAKER = (0x010F, 2, 2**31, b"\xff\xff\xff\x7f")  # a text that lies far beyond the end
BROKEN_EXIF = {
    "text for a fraction": tiff_block(orientation(6), RESOLUTION),
    "a value beyond the end": tiff_block(orientation(6), MAKER),
    "folders of tags that point to nowhere": tiff_block(
        orientation(6), (0x8769, 4, 1, b"\xff\xff\0\0"), (0x8825, 4, 1, b"\xff\xff\xff\xff")
    ),
    "a folder of tags that holds itself": tiff_block(
        orientation(6), (0x8769, 4, 1, b"\x08\0\0\0")
    ),
    "a type that nobody knows": tiff_block(orientation(6), (0x0100, 77, 1, b"abcd")),
    "a next folder that is the first": tiff_block(orientation(6))[:-4] + b"\x08\0\0\0",
    "the header twice": EXIF_HEADER + tiff_block(orientation(6)),
    "noise behind": tiff_block(orientation(6)) + bytes(range(256)),
}
UPRIGHT_EXIF = {
    "an orientation of 0": tiff_block(orientation(0)),
    "an orientation of 9": tiff_block(orientation(9)),
    "an orientation in words": tiff_block((0x0112, 2, 4, b"six\0")),
    "an orientation that lies beyond the end": tiff_block((0x0112, 3, 9, b"\xff\xff\0\0")),
    "nothing": b"",
    "noise": bytes(range(200)),
    "a count of tags beyond the end": b"II*\0\x08\0\0\0\xff\xff",
}


@pytest.mark.parametrize("defect", [*BROKEN_EXIF, *UPRIGHT_EXIF])
def test_defects_of_exif_do_not_hide_how_a_picture_is_turned(defect: str) -> None:
    jpeg = seed_files()["plain.jpg"]
    block = {**BROKEN_EXIF, **UPRIGHT_EXIF}[defect]
    stored = decode_jpeg(jpeg)
    wanted = np.rot90(stored, -1) if defect in BROKEN_EXIF else stored
    assert not differ(decode(add_exif(jpeg, block), 32, 1.0), wanted)
    picture = Image.fromarray(stored)
    for kind in ("PNG", "WEBP"):
        content = encode(picture, kind, exif=EXIF_HEADER + block, lossless=True)
        assert not differ(decode(content, 32, 1.0), wanted), kind


def test_the_orientation_is_read_behind_large_segments() -> None:
    jpeg = seed_files()["plain.jpg"]
    exif = EXIF_HEADER + tiff_block(orientation(6))
    content = add_segments(jpeg, b"A" * 60_000, b"B" * 60_000, exif)
    assert not differ(decode(content, 32, 1.0), np.rot90(decode_jpeg(jpeg), -1))


def test_a_jpeg_of_many_scans_is_decoded_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scan passes over the whole picture, so thousands of them take hours."""
    jpeg = seed_files()["progressive.jpg"]
    start, end = jpeg.rindex(b"\xff\xda"), jpeg.rindex(b"\xff\xd9")
    content = jpeg[:end] + 100 * jpeg[start:end] + jpeg[end:]
    calls: list[bytes] = []
    monkeypatch.setattr(images.DECODING, "read_square", lambda *call: calls.append(call[0]))
    with pytest.raises(TypeError):  # The stand-in answers nothing.
        decode(content, 32, 1.0)
    assert calls == [content]
    assert decode(jpeg, 32, 1.0).shape == (40, 40, 3) and calls == [content]


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *(("RGBA", kind) for kind in ("PNG", "WEBP", "TIFF", "GIF")),
        *(("LA", kind) for kind in ("PNG", "WEBP", "TIFF")),
        *(("P", kind) for kind in ("PNG", "WEBP")),
    ],
)
def test_hidden_colours_are_not_read(mode: str, kind: str) -> None:
    """A disc on a transparent ground, under which lies noise that no viewer shows."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 4), np.uint8)
    rows, columns = np.mgrid[:48, :48]
    disc = (rows - 24) ** 2 + (columns - 24) ** 2 < 400
    noise[..., 3] = np.where(disc, 255, 0)
    noise[disc, :3] = 60
    picture = Image.fromarray(noise)
    picture = picture.quantize(16) if mode == "P" else picture.convert(mode)
    square = decode(encode(picture, kind, lossless=True), 32, 1.0)
    assert (square[~disc] == 255).all() and np.abs(square[disc].astype(int) - 60).max() <= LOSS


def test_half_transparent_pixels_are_mixed_with_white_and_opaque_ones_stay() -> None:
    levels = np.arange(256, dtype=np.uint8)
    pixels = np.full((256, 256, 4), 255, np.uint8)
    pixels[..., 0], pixels[..., 1] = levels[:, None], 255 - levels
    opaque = encode(Image.fromarray(pixels), "PNG")
    np.testing.assert_array_equal(decode(opaque, 32, 1.0), pixels[..., :3])
    pixels[..., 3] = levels[:, None]
    mixed = decode(encode(Image.fromarray(pixels), "PNG"), 32, 1.0)
    share = levels[:, None, None] / 255
    wanted = share * pixels[..., :3] + (1 - share) * 255
    np.testing.assert_allclose(mixed, wanted, atol=1)


def test_damaged_pictures_are_decoded_as_they_are_or_rejected() -> None:
    decoded = [check(file) for file in damage(COUNT, seed=0)]
    assert 0.1 * COUNT < sum(decoded) < 0.9 * COUNT  # The damage is neither harmless nor total.


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(1, 6))
def test_many_damaged_pictures(seed: int) -> None:
    decoded = [check(file) for file in damage(1_000, seed)]
    assert 100 < sum(decoded) < 900


def test_a_folder_of_damaged_pictures_ends_no_job(tmp_path: Path) -> None:
    """Each file is a row of images or a rejected row, under its own name."""
    files = list(damage(150, seed=6))
    for file in files:
        (tmp_path / file.name).write_bytes(file.content)
    names = tuple(file.name for file in files)
    labels = np.arange(len(files))
    source = FileSource(Folder(tmp_path), {"train": names}, {"train": labels}, "", 32, 1.0)
    rows = source.read("train", 0, len(files))
    assert sorted([*rows.names, *(row.name for row in rows.rejected)]) == sorted(names)
    assert all(row.reason for row in rows.rejected)
    assert [names[label] for label in rows.labels] == rows.names
    assert len(rows.images) == len(rows.names) > 15
