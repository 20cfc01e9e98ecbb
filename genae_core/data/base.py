"""What every dataset gives: three labelled splits of uint8 images, held as numpy arrays.

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
    """uint8 [N, C, H, W], an array or what is read like one: by an index of int64 [B]."""

    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]: ...


class Split(NamedTuple):
    """Images and their labels.

    images: uint8 [N, C, H, W], values 0..255.
    labels: int64 [N] (one class an image) or uint8 [N, A] (A attributes of 0 or 1 an image).
    """

    images: Images
    labels: NDArray[np.int64] | NDArray[np.uint8]


class Splits(NamedTuple):
    """A dataset: train, then the two halves of the reference images.

    The Markov chain's step is chosen against `val` and reported against `test`.
    notes: what a user must know about these files (a partial set, a cut of our own), in plain
    sentences; whoever loads the data shows them. sha256: over all images and labels, hex.
    """

    train: Split
    val: Split
    test: Split
    notes: tuple[str, ...] = ()
    sha256: str = ""


class Rejected(NamedTuple):
    """A file that is no usable image, and why."""

    name: str
    reason: str


class Rows(NamedTuple):
    """A stretch of a split, decoded: what is usable of it, in order, and what is not.

    names: where each image came from. digest: sha256 (hex) over the bytes that were read.
    seconds: spent, by stage ("read", "decode").
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | NDArray[np.uint8]
    names: list[str]
    rejected: list[Rejected]
    digest: str
    seconds: dict[str, float]


class Source(Protocol):
    """A dataset's files, found and listed but not decoded yet; it travels to worker processes.

    counts: rows of "train", "val" and "test", usable or not. rejected: files that are known to
    be unusable before anything is decoded, and are in no split. label_names: of the classes, or
    of the attributes; none where there are no labels. notes: as in `Splits`. stamp: as
    `DataConfig.stamp` gave it when the files were listed.
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
        """Rows first, ..., last - 1 of a split. Raises OSError where a disk or a store fails."""


class DataConfig(Protocol):
    """A dataset's config; one file a dataset."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""

    @property
    def binarize(self) -> bool:
        """Whether models and metrics see pixels thresholded at one half."""

    def stamp(self) -> str:
        """Changes when the files do: their names, sizes and times. Raises ValueError where they
        are not there, as `source` does."""

    def source(self) -> Source:
        """The files. Raises ValueError for what the user's files get wrong as a whole: the path,
        what was expected, what was found and what to do."""


@dataclass(frozen=True)
class ArraySource:
    """A source that its files give as whole arrays; images are resized as they are read.

    splits: "train", "val" and "test", of any size in pixels. shape: (C, H, W) to give.
    """

    splits: dict[str, Split]
    shape: tuple[int, int, int]
    stamp: str
    label_names: tuple[str, ...] = tuple("0123456789")
    notes: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(split.images) for name, split in self.splits.items()}

    def read(self, split: str, first: int, last: int) -> Rows:
        began = time.perf_counter()
        images = self.splits[split].images[first:last]
        labels = self.splits[split].labels[first:last]
        digest = hashlib.sha256(np.ascontiguousarray(images).data)
        digest.update(np.ascontiguousarray(labels).data)
        resized = resize(images, self.shape[1])
        names = [f"{split}/{row}" for row in range(first, first + len(images))]
        seconds = {"read": 0.0, "decode": time.perf_counter() - began}
        return Rows(resized, labels, names, [], digest.hexdigest(), seconds)


def load(data: DataConfig) -> Splits:
    """Decode a whole dataset into this process's memory.

    Raises ValueError for files that are wrong as a whole and for the first unusable image.
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
    """sha256 (hex) over all images and labels, in order."""
    digest = hashlib.sha256()
    for split in (splits.train, splits.val, splits.test):
        for array in (np.asarray(split.images), split.labels):
            digest.update(repr((array.shape, str(array.dtype))).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def halves(split: Split, seed: int) -> tuple[Split, Split]:
    """Cut a split in two disjoint halves by a seeded permutation (the first gets the odd one)."""
    order = np.random.default_rng(seed).permutation(len(split.images))
    cut = (len(order) + 1) // 2
    first, second = np.sort(order[:cut]), np.sort(order[cut:])
    return take(split, first), take(split, second)


def take(split: Split, index: NDArray[np.int64]) -> Split:
    """The images and labels at `index` (int64 [M])."""
    return Split(split.images[index], split.labels[index])
