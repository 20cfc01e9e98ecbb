"""Open the images of shards: one copy on each node that all processes map, or a stream.

Shapes: N images, C channels, H rows, W columns, B requested indices.
"""

import os
import shutil
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from genae_core.config import require
from genae_core.data.base import Split, Splits
from genae_core.data.shards import Manifest, ShardReader, read_manifest
from genae_core.data.storage import Folder
from genae_core.distributions.rng import Draw

READING_GROUPS = 2  # memory holds a row group twice while it is read: Parquet's copy and ours


def open_shards(
    folder: Folder, cache: Path, budget: int | None = None, readers: int = 1
) -> Splits:
    """The splits of prepared shards.

    The images are mapped read-only from a copy under `cache`. The first call on a node makes the
    copy and checks it against the manifest. Labels are always in memory. Raises ValueError for a
    missing or newer manifest and for a shard that was changed.

    Args:
        folder: The folder of the shards.
        cache: The folder of this node's copies.
        budget: Bytes of memory for the training images; a larger split is streamed from the
            shards instead, and a note says so. None maps a split of any size.
        readers: The number of processes that stream at the same time and share the budget.
    """
    manifest = read_manifest(folder)
    size = manifest.rows("train") * int(np.prod(manifest.shape))
    streamed = budget is not None and size > budget
    mapped = ("val", "test") if streamed else ("train", "val", "test")
    home = _node_copy(manifest, folder, cache, mapped)
    splits = {name: _map_split(home, name) for name in mapped}
    notes = list(manifest.notes)
    if budget is not None and streamed:
        images = StreamedImages(folder.uri, manifest, budget // readers)
        splits["train"] = Split(images, images.labels())
        notes.append(
            f"{manifest.dataset}: the training images take {size / 2**30:.1f} GiB, more than the "
            f"budget of {budget / 2**30:.1f} GiB: they are streamed, and shuffled within windows "
            f"of {images.window_rows:,} images"
        )
    return Splits(**splits, notes=tuple(notes), sha256=manifest.sha256())


def _node_copy(manifest: Manifest, folder: Folder, cache: Path, names: tuple[str, ...]) -> Path:
    """The folder with the array files of these splits, which are copied if they are missing."""
    home = cache / f"{manifest.dataset}-{manifest.sha256()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{home.name}.lock"):
        for split in names:
            if not (home / split).is_dir():
                _copy_split(manifest, folder, home, split)
    return home


def _copy_split(manifest: Manifest, folder: Folder, home: Path, split: str) -> None:
    """Copy a split from its shards to array files, whole or not at all."""
    home.mkdir(exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=home, prefix=f".{split}-"))
    try:
        rows, first = manifest.rows(split), 0
        shape = (rows, *manifest.shape)
        images = open_memmap(partial / "images.npy", "w+", np.uint8, shape)
        labels = []
        for shard in manifest.shards_of(split):
            with ShardReader(folder, shard) as reader:
                for group in range(reader.groups):
                    pixels = reader.images(group)
                    images[first : first + len(pixels)] = pixels
                    first += len(pixels)
                labels.append(reader.labels())
        require(first == rows, f"the {split} shards hold {first} rows", in_the_manifest=rows)
        images.flush()
        np.save(partial / "labels.npy", np.concatenate(labels), allow_pickle=False)
        partial.chmod(0o755)
        os.rename(partial, home / split)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _map_split(home: Path, split: str) -> Split:
    """The split as read-only views of its array files."""
    images, labels = (
        np.asarray(open_memmap(home / split / f"{part}.npy", "r")) for part in ("images", "labels")
    )
    return Split(images, labels)


class _RowGroup(NamedTuple):
    """A row group: the position of its shard, its number there, and its first row in the split."""

    shard: int
    number: int
    first: int


class StreamedImages:
    """The training images in shards, read when they are indexed, as an array would be.

    The object caches `budget` bytes of the most recently used row groups. If images are requested
    in the order of `order`, each row group is read once in an epoch. Each process opens the files
    for itself.
    """

    def __init__(self, uri: str, manifest: Manifest, budget: int) -> None:
        self.arguments = (uri, manifest, budget)
        self.folder = Folder(uri)
        self.shards = manifest.shards_of("train")
        self.shape: tuple[int, int, int, int] = (manifest.rows("train"), *manifest.shape)
        self.groups: list[_RowGroup] = []
        start = 0
        for position, shard in enumerate(self.shards):
            for number, first in enumerate(range(0, shard.rows, manifest.group_rows)):
                self.groups.append(_RowGroup(position, number, start + first))
            start += shard.rows
        self.firsts = np.array([group.first for group in self.groups])
        image_bytes = int(np.prod(manifest.shape))
        budget_groups = budget // (manifest.group_rows * image_bytes)
        self.capacity = max(1, budget_groups - READING_GROUPS)
        self.window_rows = min(self.shape[0], self.capacity * manifest.group_rows)
        self.cached: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self.readers: dict[int, ShardReader] = {}

    def __reduce__(self) -> tuple[type["StreamedImages"], tuple[Any, ...]]:
        return StreamedImages, self.arguments

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images uint8 [B, C, H, W] at an index int64 [B]."""
        if len(index) and not 0 <= index.min() <= index.max() < len(self):
            raise IndexError(f"images are 0..{len(self) - 1}, got {index.min()}..{index.max()}")
        images = np.empty((len(index), *self.shape[1:]), np.uint8)
        where = np.searchsorted(self.firsts, index, side="right") - 1
        for group in np.unique(where):
            (rows,) = np.nonzero(where == group)
            images[rows] = self._group(int(group))[index[rows] - self.firsts[group]]
        return images

    def order(self, count: int, draw: Draw) -> NDArray[np.int64]:
        """A random order of the first `count` images, for one epoch.

        The row groups are put in a random order and cut into windows that fit the budget; then
        the images of each window are shuffled.
        """
        groups = draw.permutation(int(np.searchsorted(self.firsts, count))).cpu().numpy()
        lasts = np.append(self.firsts[1:], self.shape[0]).clip(max=count)
        pieces = []
        for start in range(0, len(groups), self.capacity):
            window = groups[start : start + self.capacity]
            rows = np.concatenate([np.arange(self.firsts[g], lasts[g]) for g in window])
            pieces.append(rows[draw.permutation(len(rows)).cpu().numpy()])
        return np.concatenate(pieces)

    def labels(self) -> NDArray[np.int64] | NDArray[np.uint8]:
        """The labels of all images, in their order."""
        return np.concatenate([self._reader(n).labels() for n in range(len(self.shards))])

    def _group(self, group: int) -> NDArray[np.uint8]:
        """The images of a row group, read unless they are cached."""
        if group in self.cached:
            self.cached.move_to_end(group)
            return self.cached[group]
        while len(self.cached) >= self.capacity:
            self.cached.popitem(last=False)
        position, number, _ = self.groups[group]
        # The copy lets Parquet free its own memory at once.
        self.cached[group] = self._reader(position).images(number).copy()
        return self.cached[group]

    def _reader(self, position: int) -> ShardReader:
        """The shard's reader, which stays open."""
        if position not in self.readers:
            self.readers[position] = ShardReader(self.folder, self.shards[position])
        return self.readers[position]
