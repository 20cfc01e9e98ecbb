"""The two text lists of CelebA: the attributes, and the partition into splits."""

import codecs
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.data.base import SPLITS
from genae_core.data.names import escape_name
from genae_core.data.official_files import draw_split_indices
from genae_core.data.storage import Folder

NUM_ATTRIBUTES = 40
MAX_LIST_BYTES = 2**29  # twenty times the official list


class Attributes(NamedTuple):
    """The names of the 40 attributes, and their values 0 or 1 for each image, in file order."""

    names: tuple[str, ...]
    by_image: dict[str, NDArray[np.uint8]]


def read_attributes(folder: Folder, name: str) -> tuple[Attributes, list[str]]:
    """Read the attribute list, whose values are -1 and 1, or 0 and 1. Return it with notes.

    In the official list, the first line is the number of rows, and the second line names the
    attributes. In Kaggle's table, the first line names the columns. A wrong number of rows gives a
    note. Any other defect raises ValueError with the number of the line.
    """
    path = folder.path_of(name)
    lines = _lines(folder, name)
    is_table = bool(lines) and "," in lines[0]
    start = 1 if is_table else 2
    if not is_table and (len(lines) < 2 or not lines[0].strip().isdecimal()):
        raise ValueError(f"{path}, line 1: expected the number of images, then a line of names")
    names = tuple(_words(lines[0])[1:] if is_table else lines[1].split())
    if len(names) != NUM_ATTRIBUTES:
        raise ValueError(
            f"{path}, line {start}: expected {NUM_ATTRIBUTES} attribute names, got {len(names)}"
        )
    rows: dict[str, NDArray[np.uint8]] = {}
    line_of: dict[str, int] = {}  # the first line with each value
    for number, line in enumerate(lines[start:], start=start + 1):
        image, *values = _words(line) or [""]
        if not image:
            continue
        for value in set(values):
            line_of.setdefault(value, number)
        if len(values) != NUM_ATTRIBUTES or not _is_binary(line_of):
            raise ValueError(
                f"{path}, line {number}: expected an image name and {NUM_ATTRIBUTES} values of -1 "
                f"or 1 (or 0 or 1 in all lines), got {len(values)} values: {line[:60]!r}"
            )
        if image in rows:
            raise ValueError(f"{path}, line {number}: {escape_name(image)} has a row already")
        rows[image] = np.array([value == "1" for value in values], np.uint8)
    count = len(rows) if is_table else int(lines[0])
    note = f"celeba: {name} announces {count:,} rows and has {len(rows):,}."
    return Attributes(names, rows), [] if count == len(rows) else [note]


def read_partition(folder: Folder, name: str) -> dict[str, int]:
    """Read the partition, which maps each image name to 0 (train), 1 (val) or 2 (test).

    It may be Kaggle's table. Raises ValueError with the number of a malformed line.
    """
    partition: dict[str, int] = {}
    for number, line in enumerate(_lines(folder, name), start=1):
        words = _words(line)
        if not words or (number == 1 and "," in line and words[-1:] == ["partition"]):
            continue
        if len(words) != 2 or words[1] not in ("0", "1", "2"):
            raise ValueError(
                f"{folder.path_of(name)}, line {number}: expected an image name and 0, 1 or 2, "
                f"got {line[:60]!r}"
            )
        partition[words[0]] = int(words[1])
    return partition


def stem_of(name: str) -> str:
    """The name of an image without its ending: the lists say .jpg also of the PNG files."""
    return name.rpartition(".")[0].lower() or name.lower()


class NamedParts(NamedTuple):
    """The image indices of each split, the notes about them, and the images in no split."""

    parts: dict[str, NDArray[np.int64]]
    notes: list[str]
    unassigned: list[str]


def split_names(names: list[str], folder: Folder, name: str, seed: int) -> NamedParts:
    """Split image names by the official partition in the file `name`, if it exists.

    If a part of the partition has no image here, a seeded cut of 6/8, 1/8 and 1/8 replaces it.
    Raises ValueError for fewer than three images.
    """
    present = folder.exists(name)
    partition = read_partition(folder, name) if present else {}
    by_stem = {stem_of(image): value for image, value in partition.items()}
    part = np.array([by_stem.get(stem_of(image), -1) for image in names])
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
    """The lines of a list, with or without a byte-order mark."""
    content = folder.read(name, MAX_LIST_BYTES)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace").splitlines()
    # Bytes that are not UTF-8 become what they become in the names of a disk's files.
    return content.decode("utf-8-sig", errors="surrogateescape").splitlines()


def _words(line: str) -> list[str]:
    """The words of a line, which are separated by commas or spaces."""
    return [word.strip() for word in line.split(",")] if "," in line else line.split()


def _is_binary(values: Iterable[str]) -> bool:
    """Whether values are all of -1 and 1, or all of 0 and 1."""
    return set(values) <= {"-1", "1"} or set(values) <= {"0", "1"}
