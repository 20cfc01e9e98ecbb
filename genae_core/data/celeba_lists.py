"""CelebA's two text lists, attributes and the official partition, and the splits by them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.data.official_files import seeded_cut
from genae_core.data.storage import Folder

NUM_ATTRIBUTES = 40
SPLITS = ("train", "val", "test")


class Attributes(NamedTuple):
    """The attributes' names, and each image's 40 of them as 0 or 1, in the file's order."""

    names: tuple[str, ...]
    attributes: dict[str, NDArray[np.uint8]]


def read_attributes(folder: Folder, name: str) -> tuple[Attributes, list[str]]:
    """The attribute list, which writes -1 and 1, and what to note about it.

    The first line counts the rows, the second names the attributes; a count that the rows do not
    bear out is noted. Raises ValueError with the line for any other defect.
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
    """Image name to 0 (train), 1 (val) or 2 (test). Raises ValueError with the line."""
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


class Cut(NamedTuple):
    """Indices of each split, what to note, and the images that are in none."""

    parts: dict[str, NDArray[np.int64]]
    notes: list[str]
    unassigned: list[str]


def cut(names: list[str], folder: Folder, name: str, seed: int) -> Cut:
    """`names` by the official partition where each of its parts has an image here; otherwise by
    a seeded cut of 6/8, 1/8 and 1/8. Raises ValueError for fewer than three images.
    """
    present = folder.exists(name)
    partition = read_partition(folder, name) if present else {}
    part = np.array([partition.get(image, -1) for image in names])
    parts = {split: np.flatnonzero(part == value) for value, split in enumerate(SPLITS)}
    if all(len(index) for index in parts.values()):
        unassigned = [names[i] for i in np.flatnonzero(part == -1)]
        return Cut(parts, skipped(unassigned, f"images without a row in {name}"), unassigned)
    if len(names) < 3:
        raise ValueError(f"celeba: three splits need at least 3 images, got {len(names)}")
    held = max(1, len(names) // 8)
    reason = "puts no image that is here in one of the splits" if present else "is absent"
    note = (
        f"celeba: {name} {reason}, so the splits are a cut of our own by seed {seed}, "
        f"{len(names) - 2 * held:,} train, {held:,} val and {held:,} test images."
    )
    cuts = seeded_cut(len(names), held, held, seed)
    return Cut(dict(zip(SPLITS, cuts, strict=True)), [note], [])


def skipped(names: list[str], what: str) -> list[str]:
    """The note that these are left out, or none."""
    first = ", ".join(names[:3]) + (" and so on" if len(names) > 3 else "")
    return [f"celeba: {len(names):,} {what} are skipped: {first}."] if names else []


def _lines(folder: Folder, name: str) -> list[str]:
    return folder.read(name).decode("utf-8", errors="replace").splitlines()
