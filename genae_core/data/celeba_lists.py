"""The two text lists of CelebA: the attributes, and the partition into splits."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.data.names import escape_name
from genae_core.data.official_files import draw_split_indices
from genae_core.data.storage import Folder

NUM_ATTRIBUTES = 40
MAX_LIST_BYTES = 2**29  # twenty times the official list
SPLITS = ("train", "val", "test")


class Attributes(NamedTuple):
    """The names of the 40 attributes, and their values 0 or 1 for each image, in file order."""

    names: tuple[str, ...]
    by_image: dict[str, NDArray[np.uint8]]


def read_attributes(folder: Folder, name: str) -> tuple[Attributes, list[str]]:
    """Read the attribute list, whose values are -1 and 1. Return it with the notes about it.

    The first line is the number of rows, and the second line names the attributes. A wrong number
    of rows gives a note. Any other defect raises ValueError with the number of the line.
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
            raise ValueError(f"{path}, line {number}: {escape_name(image)} has a row already")
        rows[image] = np.array([value == "1" for value in values], np.uint8)
    count = int(lines[0])
    note = f"celeba: {name} announces {count:,} rows and has {len(rows):,}."
    return Attributes(names, rows), [] if count == len(rows) else [note]


def read_partition(folder: Folder, name: str) -> dict[str, int]:
    """Read the partition, which maps each image name to 0 (train), 1 (val) or 2 (test).

    Raises ValueError with the number of a malformed line.
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
    """The image indices of each split, the notes about them, and the images in no split."""

    parts: dict[str, NDArray[np.int64]]
    notes: list[str]
    unassigned: list[str]


def split_names(names: list[str], folder: Folder, name: str, seed: int) -> NamedParts:
    """Split image names by the official partition in the file `name`.

    If a part of the partition has no image here, a seeded cut of 6/8, 1/8 and 1/8 replaces it.
    Raises ValueError for fewer than three images.
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
    """A list with the note that these images or rows are skipped; empty if there are none."""
    first = ", ".join(escape_name(name) for name in names[:3]) + (
        " and so on" if len(names) > 3 else ""
    )
    return [f"celeba: {len(names):,} {what} are skipped: {first}."] if names else []


def _lines(folder: Folder, name: str) -> list[str]:
    # Bytes that are not UTF-8 become what they become in the names of a disk's files.
    return folder.read(name, MAX_LIST_BYTES).decode("utf-8", errors="surrogateescape").splitlines()
