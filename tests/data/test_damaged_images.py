"""No picture ends a job: each is decoded as viewers show it, or rejected with a reason."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from contracts.pictures import Damaged, damage, seed_files
from numpy.typing import NDArray
from PIL import Image, ImageOps

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
