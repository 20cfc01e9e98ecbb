"""A source of image files, one an image, decoded stretch by stretch.

Shapes: N images, S the side asked for, A binary attributes.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genae_core.data.base import Rejected, Rows
from genae_core.data.images import decode, fit
from genae_core.data.storage import Folder

READERS = 16  # files fetched from an object store at a time
TOGETHER = 64  # images that are resized at once, which costs a third of one by one


@dataclass(frozen=True)
class FileSource:
    """Files below a folder, in splits, with a label each.

    names: the files of each split, relative to the folder. labels: int64 [N] or uint8 [N, A] for
    each split. size, crop, aspect: as `images.decode` takes them.
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
        return {split: len(names) for split, names in self.names.items()}

    def read(self, split: str, first: int, last: int) -> Rows:
        names = self.names[split][first:last]
        images = np.empty((len(names), 3, self.size, self.size), np.uint8)
        kept: list[int] = []
        squares: list[NDArray[np.uint8]] = []
        rejected = []
        digest = hashlib.sha256()
        seconds = {"read": 0.0, "decode": 0.0}
        clock = time.perf_counter
        began = clock()
        for row, content in enumerate(self._contents(names)):
            seconds["read"] += clock() - began
            began = clock()
            try:
                if isinstance(content, OSError):
                    raise ValueError(f"cannot be read: {content.strerror or content}")
                digest.update(len(content).to_bytes(8, "little"))
                digest.update(content)
                squares.append(decode(content, self.size, self.crop, self.aspect))
                kept.append(row)
            except ValueError as error:
                rejected.append(Rejected(names[row], str(error)))
            if len(squares) == TOGETHER or row == len(names) - 1:
                images[len(kept) - len(squares) : len(kept)] = fit(squares, self.size)
                squares.clear()
            seconds["decode"] += clock() - began
            began = clock()
        return Rows(
            images[: len(kept)],
            self.labels[split][first:last][kept],
            [names[row] for row in kept],
            rejected,
            digest.hexdigest(),
            seconds,
        )

    def _contents(self, names: Sequence[str]) -> Iterator[bytes | OSError]:
        """Each file's bytes; in place of a file that is not readable itself, its error."""
        if self.folder.local is not None:
            yield from map(self._content, names)
            return
        with ThreadPoolExecutor(READERS) as pool:
            yield from pool.map(self._content, names)

    def _content(self, name: str) -> bytes | OSError:
        try:
            return self.folder.read(name)
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            return error
