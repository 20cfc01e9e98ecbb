"""CelebA's two text lists: the attributes, and the partition that makes the splits."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.data.official_files import draw_split_indices
from genae_core.data.storage import Folder

NUM_ATTRIBUTES = 40
SPLITS = ("train", "val", "test")


class Attributes(NamedTuple):
    """The names of the 40 attributes, and by image their values 0 or 1, in the file's order."""

    names: tuple[str, ...]
    attributes: dict[str, NDArray[np.uint8]]


def read_attributes(folder: Folder, name: str) -> tuple[Attributes, list[str]]:
    """Read the attribute list, which writes -1 and 1; also the notes about it.

    The first line is the number of rows, the second names the attributes. A wrong number of rows
    gives a note. Raises ValueError with the line for any other defect.
    """
    path = folder.path_of(name)
    lines = _lines(folder, name)
    if len(lines) < 2 or not lines[0].strip().isdecimal():
        raise ValueError(f"{path}, line 1: expected the number of images, then a line of names")
    names = tuple(lines[1].split())
    if len(names) != NUM_ATTRIBUTES:
        raise ValueError(
            f"{path}, line 2: expected {NUM_ATTRIBUTES} attribute names, got {len(names)}"
        )
    rows: dict[str, NDArray[np.uint8]] = {}
    for number, line in enumerate(lines[2:], start=3):
        image, *values = line.split() or [""]
        if not image:
            continue
        if len(values) != NUM_ATTRIBUTES or not set(values) <= {"-1", "1"}:
            raise ValueError(
                f"{path}, line {number}: expected an image name and {NUM_ATTRIBUTES} values of -1 "
                f"or 1, got {len(values)} values: {line[:60]!r}"
            )
        if image in rows:
            raise ValueError(f"{path}, line {number}: {image} has a row already")
        rows[image] = np.array([value == "1" for value in values], np.uint8)
    count = int(lines[0])
    differs = f"celeba: {name} announces {count:,} rows and has {len(rows):,}."
    return Attributes(names, rows), [] if count == len(rows) else [differs]


def read_partition(folder: Folder, name: str) -> dict[str, int]:
    """Map each image name to 0 (train), 1 (val) or 2 (test).

    Raises ValueError with the line that is malformed.
    """
    partition: dict[str, int] = {}
    for number, line in enumerate(_lines(folder, name), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in ("0", "1", "2"):
            raise ValueError(
                f"{folder.path_of(name)}, line {number}: expected an image name and 0, 1 or 2, "
                f"got {line[:60]!r}"
            )
        partition[words[0]] = int(words[1])
    return partition


class NamedParts(NamedTuple):
    """The indices of each split, the notes about them, and the images that are in no split."""

    parts: dict[str, NDArray[np.int64]]
    notes: list[str]
    unassigned: list[str]


def split_names(names: list[str], folder: Folder, name: str, seed: int) -> NamedParts:
    """Split image names by the official partition in the file `name`.

    If one of its parts has no image here, a seeded cut of 6/8, 1/8 and 1/8 replaces it. Raises
    ValueError for fewer than three images.
    """
    present = folder.exists(name)
    partition = read_partition(folder, name) if present else {}
    part = np.array([partition.get(image, -1) for image in names])
    parts = {split: np.flatnonzero(part == value) for value, split in enumerate(SPLITS)}
    if all(len(index) for index in parts.values()):
        unassigned = [names[i] for i in np.flatnonzero(part == -1)]
        notes = note_skipped(unassigned, f"images without a row in {name}")
        return NamedParts(parts, notes, unassigned)
    if len(names) < 3:
        raise ValueError(f"celeba: three splits need at least 3 images, got {len(names)}")
    num_held_out = max(1, len(names) // 8)
    reason = "puts no image that is here in one of the splits" if present else "is absent"
    note = (
        f"celeba: {name} {reason}, so the splits are a cut of our own by seed {seed}, "
        f"{len(names) - 2 * num_held_out:,} train, {num_held_out:,} val and {num_held_out:,} test "
        "images."
    )
    indices = draw_split_indices(len(names), num_held_out, num_held_out, seed)
    return NamedParts(dict(zip(SPLITS, indices, strict=True)), [note], [])


def note_skipped(names: list[str], what: str) -> list[str]:
    """The note that these images or rows are left out; empty if there are none."""
    first = ", ".join(names[:3]) + (" and so on" if len(names) > 3 else "")
    return [f"celeba: {len(names):,} {what} are skipped: {first}."] if names else []


def _lines(folder: Folder, name: str) -> list[str]:
    return folder.read(name).decode("utf-8", errors="replace").splitlines()
