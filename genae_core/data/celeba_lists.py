"""CelebA's two text lists, attributes and the official partition, and the splits by them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genae_core.data.files import seeded_cut

NUM_ATTRIBUTES = 40


def read_attributes(path: Path) -> tuple[dict[str, NDArray[np.uint8]], list[str]]:
    """Image name to its 40 attributes as 0 or 1 (the file has -1 and 1), in the file's order.

    The first line counts the rows, the second names the attributes; a count that the rows do not
    bear out is noted (the second result). Raises ValueError with the line for any other defect.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if len(lines) < 2 or not lines[0].strip().isdecimal():
        raise ValueError(f"{path}, line 1: expected the number of images, then a line of names")
    if (found := len(lines[1].split())) != NUM_ATTRIBUTES:
        raise ValueError(f"{path}, line 2: expected {NUM_ATTRIBUTES} attribute names, got {found}")
    rows: dict[str, NDArray[np.uint8]] = {}
    for number, line in enumerate(lines[2:], start=3):
        name, *values = line.split() or [""]
        if not name:
            continue
        if len(values) != NUM_ATTRIBUTES or not set(values) <= {"-1", "1"}:
            raise ValueError(
                f"{path}, line {number}: expected an image name and {NUM_ATTRIBUTES} values of -1 "
                f"or 1, got {len(values)} values: {line[:60]!r}"
            )
        if name in rows:
            raise ValueError(f"{path}, line {number}: {name} has a row already")
        rows[name] = np.array([value == "1" for value in values], np.uint8)
    count = int(lines[0])
    differs = f"celeba: {path.name} announces {count:,} rows and has {len(rows):,}."
    return rows, [] if count == len(rows) else [differs]


def read_partition(path: Path) -> dict[str, int]:
    """Image name to 0 (train), 1 (val) or 2 (test). Raises ValueError with the line."""
    partition: dict[str, int] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in ("0", "1", "2"):
            raise ValueError(
                f"{path}, line {number}: expected an image name and 0, 1 or 2, got {line[:60]!r}"
            )
        partition[words[0]] = int(words[1])
    return partition


def cut(names: list[str], path: Path) -> tuple[tuple[NDArray[np.int64], ...], list[str]]:
    """Indices of train, val and test among `names`, and what to note about them.

    The official partition at `path` where each of its three parts has an image here; otherwise
    a seeded cut of 6/8, 1/8 and 1/8. Raises ValueError for fewer than three images.
    """
    partition = read_partition(path) if path.exists() else {}
    part = np.array([partition.get(name, -1) for name in names])
    parts = tuple(np.flatnonzero(part == value) for value in range(3))
    if all(len(index) for index in parts):
        unassigned = [names[i] for i in np.flatnonzero(part == -1)]
        return parts, skipped(unassigned, f"images without a row in {path.name}")
    if len(names) < 3:
        raise ValueError(f"celeba: three splits need at least 3 images, got {len(names)}")
    held = max(1, len(names) // 8)
    reason = "puts no image that is here in one of the splits" if path.exists() else "is absent"
    note = (
        f"celeba: {path.name} {reason}, so the splits are a seeded cut of our own, "
        f"{len(names) - 2 * held:,} train, {held:,} val and {held:,} test images."
    )
    return seeded_cut(len(names), held, held), [note]


def skipped(names: list[str], what: str) -> list[str]:
    """The note that these are left out, or none."""
    first = ", ".join(names[:3]) + (" and so on" if len(names) > 3 else "")
    return [f"celeba: {len(names):,} {what} are skipped: {first}."] if names else []
