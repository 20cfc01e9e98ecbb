"""Functions that find and check the official files of a dataset, and that cut splits."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.config import require
from genae_core.data.base import Split, cut_in_halves
from genae_core.data.download import fetch
from genae_core.data.storage import FileStat, Folder


class Layout(NamedTuple):
    """Where the files of a dataset lie.

    Attributes:
        name: The name of the dataset.
        folders: The possible folders, relative to the data root. The first one that holds all of
            `files` is used.
        files: The names of the files.
        endings: What may follow the name of a file, such as ".gz" for a packed one.
    """

    name: str
    folders: tuple[str, ...]
    files: tuple[str, ...]
    endings: tuple[str, ...] = ("",)

    def list_missing(self, folder: Folder) -> list[str]:
        """List the files that `folder` lacks."""
        return [
            file
            for file in self.files
            if not any(folder.exists(file + ending) for ending in self.endings)
        ]

    def describe(self, root: Folder) -> str:
        """Describe in words which files are expected where."""
        places = " or ".join(self._at(root, name).uri for name in self.folders)
        endings = "".join(f" (or {ending})" for ending in self.endings if ending)
        return f"{', '.join(self.files)}{endings} in {places}"

    def list_folders(self, root: Folder) -> list[Folder]:
        """List the folders that may hold the files."""
        return [self._at(root, name) for name in self.folders]

    @staticmethod
    def _at(root: Folder, name: str) -> Folder:
        """The folder of this name below the data root; the root itself for an empty name."""
        return root / name if name else root


def check_source(root: str, download: bool) -> None:
    """Raise ValueError unless a config's `root` is a text and `download` is a bool."""
    require(isinstance(root, str) and root.strip() != "", "root must name a folder", root=root)
    check_flags(download=download)


def check_flags(**values: object) -> None:
    """Raise ValueError unless each value is a bool."""
    for name, value in values.items():
        require(isinstance(value, bool), f"{name} must be True or False", **{name: value})


def locate(layout: Layout, root: str, download: bool) -> Folder:
    """Find the folder that holds the files of a dataset.

    With `download`, missing files are downloaded first. If files are missing, it raises ValueError
    with their names and the places where they belong.
    """
    base = Folder(root)
    folders = layout.list_folders(base)
    if download and all(layout.list_missing(folder) for folder in folders):
        require(base.local is not None, "download needs a local root", root=root)
        fetch(layout.name, Path(base.uri), layout.describe(base))
    for folder in folders:
        if not layout.list_missing(folder):
            return folder
    help_text = f"expected {layout.describe(base)}; put them there, or let --download fetch them"
    if base.local is not None and not base.local.is_dir():
        raise ValueError(f"{layout.name}: the data root {root!r} is no folder; {help_text}")
    nearest = min(folders, key=lambda folder: len(layout.list_missing(folder)))
    lacking = ", ".join(layout.list_missing(nearest))
    raise ValueError(f"{layout.name}: {nearest.uri} lacks {lacking}; {help_text}")


def stamp(files: Iterable[FileStat]) -> str:
    """The sha256 (hex) over the names, sizes and times of files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(repr(tuple(file)).encode())
    return digest.hexdigest()


def check_digest(path: str, content: bytes | bytearray, algorithm: str, expected: str) -> None:
    """Raise ValueError unless the content has the official file's checksum (hex)."""
    digest = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if digest != expected:
        raise ValueError(
            f"{path} has the official number of images but not the official content: expected "
            f"{algorithm} {expected}, found {digest}; fetch the file again"
        )


def partial_note(name: str, file: str, count: int, official: int) -> str:
    """The note that a file has `count` images, but the official file has `official`."""
    return (
        f"{name}: {file} holds {count:,} images, the official one {official:,}: this is "
        f"another set, so do not report numbers on it as {name} results."
    )


def split_reference(name: str, train: Split, reference: Split) -> dict[str, Split]:
    """Make three splits: `train`, and two seeded halves of `reference` as val and test.

    Raises ValueError unless each split has at least one image.
    """
    num_train, num_reference = len(train.images), len(reference.images)
    if num_train < 1 or num_reference < 2:
        raise ValueError(
            f"{name}: at least 1 training and 2 test images are needed, got {num_train} and "
            f"{num_reference}"
        )
    val, test = cut_in_halves(reference, seed=0)
    return {"train": train, "val": val, "test": test}


def draw_split_indices(
    count: int, num_val: int, num_test: int, seed: int = 0
) -> tuple[NDArray[np.int64], ...]:
    """Draw the indices of train, val and test. Each index of 0..count-1 is in one of them, and
    each of them is ascending."""
    order = np.random.default_rng(seed).permutation(count)
    val, test, train = np.split(order, [num_val, num_val + num_test])
    return np.sort(train), np.sort(val), np.sort(test)
