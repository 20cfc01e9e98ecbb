"""What the loaders share about files: finding and checking them, and cutting the splits."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.config import require
from genae_core.data.base import Split, Splits, halves
from genae_core.data.download import fetch


class Layout(NamedTuple):
    """Where a dataset's files lie: all of `files` in one of `folders` (relative to the data
    root, the first complete one is taken), each as it is or with one of `endings`."""

    name: str
    folders: tuple[str, ...]
    files: tuple[str, ...]
    endings: tuple[str, ...] = ("",)

    def missing(self, folder: Path) -> list[str]:
        """The files that `folder` lacks."""
        return [
            file
            for file in self.files
            if not any((folder / (file + ending)).exists() for ending in self.endings)
        ]

    def expected(self, root: Path) -> str:
        """Which files are expected where, for messages."""
        places = " or ".join(str(root / folder) for folder in self.folders)
        packed = "".join(f" (or {ending})" for ending in self.endings if ending)
        return f"{', '.join(self.files)}{packed} in {places}"


def check_source(root: str, download: bool) -> None:
    """Raise ValueError unless a config's `root` and `download` can be meant."""
    require(isinstance(root, str) and root.strip() != "", "root must name a folder", root=root)
    check_flags(download=download)


def check_flags(**values: object) -> None:
    """Raise ValueError unless each value is a bool."""
    for name, value in values.items():
        require(isinstance(value, bool), f"{name} must be True or False", **{name: value})


def locate(layout: Layout, root: str, download: bool) -> Path:
    """The folder that holds the dataset's files, fetched first where `download` asks for it.

    Raises ValueError naming what is missing where.
    """
    base = Path(root).expanduser()
    folders = [base / folder for folder in layout.folders]
    if download and all(layout.missing(folder) for folder in folders):
        fetch(layout.name, base, layout.expected(base))
    for folder in folders:
        if not layout.missing(folder):
            return folder
    help_text = f"expected {layout.expected(base)}; put them there, or let --download fetch them"
    if not base.is_dir():
        raise ValueError(f"{layout.name}: the data root {root!r} is no folder; {help_text}")
    nearest = min(folders, key=lambda folder: len(layout.missing(folder)))
    lacking = ", ".join(layout.missing(nearest))
    raise ValueError(f"{layout.name}: {nearest} lacks {lacking}; {help_text}")


def check_digest(path: Path, content: bytes, algorithm: str, expected: str) -> None:
    """Raise ValueError unless the content has the official file's checksum (hex)."""
    found = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} has the official number of images but not the official content: expected "
            f"{algorithm} {expected}, found {found}; fetch the file again"
        )


def partial_note(name: str, path: Path, found: int, official: int) -> str:
    """The note that a file is not the official set. found, official: numbers of images."""
    return (
        f"{name}: {path.name} holds {found:,} images, the official one {official:,}: this is "
        f"another set, so do not report numbers on it as {name} results."
    )


def with_halves(name: str, train: Split, reference: Split, notes: tuple[str, ...]) -> Splits:
    """The splits whose val and test are the two seeded halves of `reference`.

    Raises ValueError unless each split gets an image.
    """
    counts = len(train.images), len(reference.images)
    if counts[0] < 1 or counts[1] < 2:
        raise ValueError(
            f"{name}: at least 1 training and 2 test images are needed, got {counts[0]} and "
            f"{counts[1]}"
        )
    return Splits(train, *halves(reference, seed=0), notes)


def seeded_cut(count: int, num_val: int, num_test: int) -> tuple[NDArray[np.int64], ...]:
    """Disjoint ascending indices of train, val and test that cover 0..count-1, by seed 0."""
    order = np.random.default_rng(0).permutation(count)
    val, test, train = np.split(order, [num_val, num_val + num_test])
    return np.sort(train), np.sort(val), np.sort(test)
