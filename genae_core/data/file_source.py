"""FileSource: a dataset of image files, one file for each image.

Shapes: N images, S the final side, A binary attributes.
"""

import errno
import hashlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genae_core.data.base import Rejected, Rows
from genae_core.data.decoding_process import NotStartedError
from genae_core.data.images import decode, resize_squares
from genae_core.data.names import escape_name
from genae_core.data.storage import Folder, Listing

NUM_THREADS = 16  # the number of threads that fetch files from an object store
MAX_FETCHED = 64  # the number of files that wait in memory to be decoded
# This number of images is resized together, which takes a third of the time of one by one.
RESIZED_TOGETHER = 64
MAX_FILE_BYTES = 2**29  # more than MAX_PIXELS take without any compression
UNREADABLE = "cannot be read"
MAX_REASON = 300  # characters
OUR_FAILURES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # the process lacks something


def reject_unreadable(listing: Listing) -> tuple[Rejected, ...]:
    """The folders that cannot be listed, as rejected files, whose number nobody knows."""
    return tuple(Rejected(escape_name(name), reason) for name, reason in listing.unreadable)


def note_passed_over(dataset: str, listing: Listing) -> list[str]:
    """The notes about folders and links that are passed over; none if there are none."""
    notes = []
    if listing.skipped_links:
        notes.append(
            f"{dataset}: {len(listing.skipped_links):,} links to folders are passed over, because "
            "they lead to a folder that is read already, or back to one that holds them: "
            f"{_name_first(listing.skipped_links)}."
        )
    if listing.unreadable:
        names = [name for name, _ in listing.unreadable]
        notes.append(
            f"{dataset}: {len(names):,} folders cannot be listed and are passed over, with "
            f"whatever they hold: {_name_first(names)}."
        )
    return notes


def _name_first(names: Sequence[str]) -> str:
    """The first three names, in words."""
    first = ", ".join(escape_name(name) for name in names[:3])
    return first + (" and so on" if len(names) > 3 else "")


@dataclass(frozen=True)
class FileSource:
    """The `Source` of image files below a folder.

    Attributes:
        folder: The folder.
        names: The files of each split, relative to the folder.
        labels: The labels of each split, int64 [N] or uint8 [N, A].
        stamp: As in `Source`.
        size: As in `images.decode`, like crop and aspect.
        crop: The side of the square as a fraction of the image's shorter side.
        aspect: The required ratio of width to height.
        label_names: As in `Source`, like notes and rejected.
        notes: Sentences for the user.
        rejected: Files that are in no split.
    """

    folder: Folder
    names: dict[str, tuple[str, ...]]
    labels: dict[str, NDArray[np.int64] | NDArray[np.uint8]]
    stamp: str
    size: int
    crop: float
    aspect: float | None = None
    label_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows of each split."""
        return {split: len(names) for split, names in self.names.items()}

    def read(self, split: str, first: int, last: int) -> Rows:
        """Read and decode the files of rows first, ..., last - 1 of a split."""
        names = self.names[split][first:last]
        images = np.empty((len(names), 3, self.size, self.size), np.uint8)
        usable: list[int] = []
        squares: list[NDArray[np.uint8]] = []
        rejected = []
        digest = hashlib.sha256()
        seconds = {"read": 0.0, "decode": 0.0}
        clock = time.perf_counter
        began = clock()
        for row, content in enumerate(self._contents(names)):
            seconds["read"] += clock() - began
            began = clock()
            if isinstance(content, bytes):
                digest.update(len(content).to_bytes(8, "little"))
                digest.update(content)
            square = self._decode(content)
            if isinstance(square, str):
                rejected.append(Rejected(escape_name(names[row]), escape_name(square)))
            else:
                squares.append(square)
                usable.append(row)
            if len(squares) == RESIZED_TOGETHER or row == len(names) - 1:
                images[len(usable) - len(squares) : len(usable)] = resize_squares(
                    squares, self.size
                )
                squares.clear()
            seconds["decode"] += clock() - began
            began = clock()
        return Rows(
            images=images[: len(usable)],
            labels=self.labels[split][first:last][usable],
            names=[escape_name(names[row]) for row in usable],
            rejected=rejected,
            digest=digest.hexdigest(),
            seconds=seconds,
        )

    def _decode(self, content: bytes | Exception) -> NDArray[np.uint8] | str:
        """The square of a file, or the reason why it has none."""
        if isinstance(content, Exception):
            return f"{UNREADABLE}: {getattr(content, 'strerror', None) or content}"
        try:
            return decode(content, self.size, self.crop, self.aspect)
        except NotStartedError:
            raise
        except Exception as error:  # No file ends a job, whatever a library raises.
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            return f"{kind}{error}"[:MAX_REASON]

    def _contents(self, names: Sequence[str]) -> Iterator[bytes | Exception]:
        """The bytes of each file; the error in their place if only this file cannot be read."""
        if self.folder.local is not None:
            yield from map(self._content, names)
            return
        fetched: deque[Future[bytes | Exception]] = deque()
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            for name in names:
                fetched.append(pool.submit(self._content, name))
                if len(fetched) > MAX_FETCHED:
                    yield fetched.popleft().result()
            while fetched:
                yield fetched.popleft().result()

    def _content(self, name: str) -> bytes | Exception:
        """The bytes of one file, or the error if only this file cannot be read.

        Raises OSError if the disk or the store fails.
        """
        try:
            return self.folder.read(name, MAX_FILE_BYTES)
        except Exception as error:
            is_ours = isinstance(error, OSError) and error.errno in OUR_FAILURES
            if is_ours or not self.folder.exists():
                raise
            return error
