"""FileSource: a dataset of image files, one file for each image.

Shapes: N images, S the final side, A binary attributes.
"""

import errno
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genae_core.data.base import Rejected, Rows
from genae_core.data.encoded_rows import Decoding, decode_rows
from genae_core.data.names import escape_name
from genae_core.data.storage import Folder, Listing

NUM_THREADS = 16  # the number of threads that fetch files from an object store
MAX_FETCHED = 64  # the number of files that wait in memory to be decoded
MAX_FILE_BYTES = 2**29  # more than MAX_PIXELS take without any compression
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
        grey: Whether the images are read as grey values, with one channel.
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
    grey: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows of each split."""
        return {split: len(names) for split, names in self.names.items()}

    def read(self, split: str, first: int, last: int) -> Rows:
        """Read and decode the files of rows first, ..., last - 1 of a split."""
        names = self.names[split][first:last]
        decoding = Decoding(self.size, self.crop, self.aspect, self.grey)
        return decode_rows(self._contents(names), names, self.labels[split][first:last], decoding)

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
