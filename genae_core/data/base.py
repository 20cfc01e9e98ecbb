"""The interface of a dataset: three labelled splits of uint8 images, held as numpy arrays.

Shapes: N images, C channels, H rows, W columns, A binary attributes.
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from genae_core.data.images import resize


class Images(Protocol):
    """uint8 [N, C, H, W]: an array, or an object that is indexed like one by int64 [B]."""

    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]: ...


class Split(NamedTuple):
    """Images and their labels.

    images: uint8 [N, C, H, W], values 0..255.
    labels: int64 [N], one class for each image, or uint8 [N, A], A attributes of 0 or 1.
    """

    images: Images
    labels: NDArray[np.int64] | NDArray[np.uint8]


class Splits(NamedTuple):
    """A dataset: train, then the two halves of the reference images.

    The Markov chain's step is chosen against `val` and reported against `test`.
    notes: sentences that a user must read about these files (a partial set, a cut of our own);
    the caller that loads the data shows them. sha256: over all images and labels, hex.
    """

    train: Split
    val: Split
    test: Split
    notes: tuple[str, ...] = ()
    sha256: str = ""


class Rejected(NamedTuple):
    """A file that is no usable image, and the reason."""

    name: str
    reason: str


class Rows(NamedTuple):
    """Consecutive rows of a split, decoded.

    images, labels, names: the usable rows, in order; a name says where an image came from.
    rejected: the unusable rows. digest: sha256 (hex) over the bytes that were read. seconds: the
    time that each stage ("read", "decode") took.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | NDArray[np.uint8]
    names: list[str]
    rejected: list[Rejected]
    digest: str
    seconds: dict[str, float]


class Source(Protocol):
    """A dataset's files, listed but not decoded yet; it travels to worker processes.

    counts: the rows of "train", "val" and "test", usable or not. rejected: files that are known
    to be unusable before anything is decoded; they are in no split. label_names: the names of
    the classes or attributes, empty if there are no labels. notes: as in `Splits`. stamp: the
    value of `DataConfig.stamp` when the files were listed.
    """

    @property
    def counts(self) -> dict[str, int]: ...
    @property
    def rejected(self) -> tuple[Rejected, ...]: ...
    @property
    def label_names(self) -> tuple[str, ...]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def stamp(self) -> str: ...

    def read(self, split: str, first: int, last: int) -> Rows:
        """Read and decode rows of a split.

        Args:
            split: "train", "val" or "test".
            first: The first row.
            last: One more than the last row.

        Returns:
            Rows first, ..., last - 1.

        Raises:
            OSError: If a disk or a store fails.
        """


class DataConfig(Protocol):
    """A dataset's config; each dataset has one file."""

    @property
    def name(self) -> str:
        """The dataset's name, which is part of paths."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""

    @property
    def binarize(self) -> bool:
        """Whether models and metrics see pixels thresholded at one half."""

    def stamp(self) -> str:
        """Identify the state of the files by their names, sizes and times.

        Returns:
            A text that changes when the files change.

        Raises:
            ValueError: If the files are missing.
        """

    def source(self) -> Source:
        """List the files.

        Returns:
            The files, not decoded yet.

        Raises:
            ValueError: If the files are wrong as a whole. The message names the path, what was
                expected, what is there instead, and what to do.
        """


@dataclass(frozen=True)
class ArraySource:
    """A source whose files hold whole arrays; `read` resizes the images.

    splits: "train", "val" and "test", of any size in pixels. shape: (C, H, W) after resizing.
    The other fields are as in `Source`.
    """

    splits: dict[str, Split]
    shape: tuple[int, int, int]
    stamp: str
    label_names: tuple[str, ...] = tuple("0123456789")
    notes: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows of each split."""
        return {name: len(split.images) for name, split in self.splits.items()}

    def read(self, split: str, first: int, last: int) -> Rows:
        """Resize rows first, ..., last - 1 of a split."""
        began = time.perf_counter()
        images = self.splits[split].images[first:last]
        labels = self.splits[split].labels[first:last]
        digest = hashlib.sha256(np.ascontiguousarray(images).data)
        digest.update(np.ascontiguousarray(labels).data)
        resized = resize(images, self.shape[1])
        names = [f"{split}/{row}" for row in range(first, first + len(images))]
        seconds = {"read": 0.0, "decode": time.perf_counter() - began}
        return Rows(
            images=resized,
            labels=labels,
            names=names,
            rejected=[],
            digest=digest.hexdigest(),
            seconds=seconds,
        )


def load(data: DataConfig) -> Splits:
    """Decode a whole dataset into this process's memory.

    Raises ValueError if the files are wrong as a whole, and for the first unusable image.
    """
    source = data.source()
    splits = []
    for split, count in source.counts.items():
        rows = source.read(split, 0, count)
        if rows.rejected:
            name, reason = rows.rejected[0]
            raise ValueError(f"{data.name}: {name}: {reason}")
        splits.append(Split(rows.images, rows.labels))
    train, val, test = splits
    decoded = Splits(train, val, test, source.notes)
    return decoded._replace(sha256=fingerprint(decoded))


def fingerprint(splits: Splits) -> str:
    """sha256 over the shapes, types and values of all images and labels, in order.

    Args:
        splits: The dataset; its notes do not count.

    Returns:
        64 hex digits.
    """
    digest = hashlib.sha256()
    for split in (splits.train, splits.val, splits.test):
        for array in (np.asarray(split.images), split.labels):
            digest.update(repr((array.shape, str(array.dtype))).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def cut_in_halves(split: Split, seed: int) -> tuple[Split, Split]:
    """Cut a split in two disjoint halves by a seeded permutation; the first has the odd image."""
    order = np.random.default_rng(seed).permutation(len(split.images))
    middle = (len(order) + 1) // 2
    first, second = np.sort(order[:middle]), np.sort(order[middle:])
    return take(split, first), take(split, second)


def take(split: Split, index: NDArray[np.int64]) -> Split:
    """The images and labels at `index` (int64 [M])."""
    return Split(split.images[index], split.labels[index])
