"""The interface of a dataset: three labelled splits of uint8 images, as numpy arrays.

Shapes: N images, C channels, H rows, W columns, A binary attributes.
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from genae_core.data.images import resize

SPLITS = ("train", "val", "test")


class Images(Protocol):
    """uint8 [N, C, H, W]: an array, or an object that is indexed like one by int64 [B]."""

    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]: ...


class Split(NamedTuple):
    """Images and their labels.

    Attributes:
        images: uint8 [N, C, H, W], with values 0..255.
        labels: int64 [N], the class of each image; or uint8 [N, A], its A attributes of 0 or 1.
    """

    images: Images
    labels: NDArray[np.int64] | NDArray[np.uint8]


class Splits(NamedTuple):
    """A dataset: the training images, then the two halves of the reference images.

    The step of the Markov chain is chosen on `val`, and its results are reported on `test`.

    Attributes:
        train: The training images.
        val: The first half of the reference images.
        test: The second half of the reference images.
        notes: Sentences that a user must read about these files, for example that images are
            missing. The caller that loads the data prints them.
        sha256: The sha256 (hex) over all images and labels.
    """

    train: Split
    val: Split
    test: Split
    notes: tuple[str, ...] = ()
    sha256: str = ""


class Rejected(NamedTuple):
    """A file that is not a usable image.

    Attributes:
        name: The name of the file.
        reason: Why it is not usable.
    """

    name: str
    reason: str


class Rows(NamedTuple):
    """Consecutive rows of a split, decoded.

    Attributes:
        images: The images of the usable rows, in order, uint8 [N, C, H, W].
        labels: Their labels, int64 [N] or uint8 [N, A].
        names: Their names, which say where each image comes from.
        rejected: The unusable rows.
        digest: The sha256 (hex) over the bytes that were read.
        seconds: The seconds that each stage ("read", "decode") took.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | NDArray[np.uint8]
    names: list[str]
    rejected: list[Rejected]
    digest: str
    seconds: dict[str, float]


class Source(Protocol):
    """The list of a dataset's files, which are not decoded yet. It is sent to worker processes."""

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows of "train", "val" and "test", usable or not."""

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """The files that are in no split, because they are known to be unusable before
        decoding."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the classes or attributes; empty if there are no labels."""

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of `Splits`."""

    @property
    def stamp(self) -> str:
        """The value of `DataConfig.stamp` when the files were listed."""

    def read(self, split: str, first: int, last: int) -> Rows:
        """Read and decode rows of a split.

        Args:
            split: "train", "val" or "test".
            first: The first row.
            last: One more than the last row.

        Returns:
            Rows first, ..., last - 1.

        Raises:
            OSError: A disk or a store fails.
        """


class DataConfig(Protocol):
    """The config of a dataset."""

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
        """Identify the present content of the files by their names, sizes and times.

        Returns:
            A text that changes when the files change.

        Raises:
            ValueError: Files are missing.
        """

    def source(self) -> Source:
        """List the files, without decoding them.

        Returns:
            The list.

        Raises:
            ValueError: The files are wrong as a whole. The message names the path, what was
                expected, what is there instead, and what to do.
        """


@dataclass(frozen=True)
class ArraySource:
    """A source whose files hold whole arrays; `read` resizes the images.

    Args:
        splits: "train", "val" and "test", with images of any size in pixels.
        shape: (C, H, W) of the images after resizing.
        stamp: As in `Source`.
        label_names: As in `Source`.
        notes: As in `Source`.
        rejected: As in `Source`.
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
    """Decode a whole dataset into the memory of this process.

    `prepare` also leaves out training images that are held out; this function does not.

    Raises ValueError if the files are wrong as a whole or an image is unusable.
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
    """Compute the sha256 over the shapes, types and values of all images and labels, in order.

    Args:
        splits: The dataset. Its notes do not count.

    Returns:
        64 hex digits.
    """
    return _digest_of(splits.train, splits.val, splits.test)


def fingerprint_split(split: Split) -> str:
    """`fingerprint` for the images and labels of one split."""
    return _digest_of(split)


def _digest_of(*splits: Split) -> str:
    digest = hashlib.sha256()
    for split in splits:
        for array in (np.asarray(split.images), split.labels):
            digest.update(repr((array.shape, str(array.dtype))).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def cut_in_halves(split: Split, seed: int) -> tuple[Split, Split]:
    """Cut a split in two halves by a seeded permutation; the first may have one image more."""
    order = np.random.default_rng(seed).permutation(len(split.images))
    middle = (len(order) + 1) // 2
    first, second = np.sort(order[:middle]), np.sort(order[middle:])
    return take(split, first), take(split, second)


def take(split: Split, index: NDArray[np.int64]) -> Split:
    """The images and labels at `index` (int64 [M])."""
    return Split(split.images[index], split.labels[index])
