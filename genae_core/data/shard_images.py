"""The images of shards: all processes of a node map one copy, or each process streams them.

Shapes: N images, C channels, H rows, W columns, B requested indices.
"""

import functools
import shutil
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from genae_core.config import require
from genae_core.config.make_once import make_alone
from genae_core.config.messages import print_warning
from genae_core.data import durable, sealed
from genae_core.data.base import Split, Splits
from genae_core.data.shards import Manifest, ShardReader, read_manifest
from genae_core.data.storage import Folder
from genae_core.distributions.rng import Draw

# While a row group is read, memory holds it twice: Parquet's copy and genae's.
READING_GROUPS = 2
# The file in a split's copy with the sha256 of the array files.
DIGESTS = "digests.json"


def open_shards(
    folder: Folder, cache: Path, budget: int | None = None, readers: int = 1
) -> Splits:
    """Open the splits of prepared shards.

    The images are mapped read-only from a copy in `cache`. The first call on a node makes the copy
    and checks it against the manifest. Later calls check that the copy has not changed, and else
    make it again. Labels are always in memory.

    Args:
        folder: The folder of the shards.
        cache: The folder of this node's copies.
        budget: The bytes of memory for the training images. A larger split is streamed from the
            shards, and a note says so. None maps a split of any size.
        readers: The number of processes that stream at the same time and share the budget.

    Returns:
        The splits.

    Raises:
        ValueError: The manifest is missing or newer than this genae, or a shard has changed.
    """
    manifest = read_manifest(folder)
    size = manifest.rows("train") * int(np.prod(manifest.shape))
    streamed = budget is not None and size > budget
    mapped = ("val", "test") if streamed else ("train", "val", "test")
    copy = _copy_to_node(manifest, folder, cache, mapped)
    splits = {name: _map_split(copy, name) for name in mapped}
    notes = list(manifest.notes)
    if budget is not None and streamed:
        images = StreamedImages(folder.address, manifest, budget // readers)
        splits["train"] = Split(images, images.labels())
        notes.append(
            f"{manifest.dataset}: the training images take {size / 2**30:.1f} GiB, more than the "
            f"budget of {budget / 2**30:.1f} GiB: they are streamed, and shuffled within windows "
            f"of {images.window_rows:,} images"
        )
    return Splits(**splits, notes=tuple(notes), sha256=manifest.sha256())


def _copy_to_node(manifest: Manifest, folder: Folder, cache: Path, names: tuple[str, ...]) -> Path:
    """Copy the splits that the cache lacks, and return the folder with their array files."""
    copy = cache / f"{manifest.dataset}-{manifest.sha256()[:16]}"
    for split in names:
        if _fault_of(copy / split):
            with make_alone(copy / split):
                fault = _fault_of(copy / split)
                if fault and (copy / split).is_dir():
                    print_warning(f"the copy {copy / split} is made again: {fault}")
                    # A process that has mapped the old copy keeps it until it ends.
                    shutil.rmtree(copy / split)
                if fault:
                    _copy_split(manifest, folder, copy, split)
    return copy


def _fault_of(folder: Path) -> str:
    """Why a split's copy cannot be used: it is missing, or a file has changed since; else "".

    A process computes the sha256 of a file once, at about 1 GB/s, which is less than the time in
    which a sweep then sends the images to its workers.
    """
    try:
        digests = sealed.read(folder / DIGESTS)
        for name in ("images.npy", "labels.npy"):
            stat = (folder / name).stat()
            actual = _sha256_of(folder / name, stat.st_ino, stat.st_size, stat.st_mtime_ns)
            expected = digests.get(name)
            require(actual == expected, f"the sha256 of {name} must be {expected}", sha256=actual)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


@functools.cache
def _sha256_of(path: Path, *version: int) -> str:
    """The sha256 of a version of a file, which its inode, size and time of change identify."""
    return sealed.sha256_of(path)


def _copy_split(manifest: Manifest, folder: Folder, target: Path, split: str) -> None:
    """Copy a split from its shards to array files, completely or not at all."""
    partial = Path(tempfile.mkdtemp(dir=target, prefix=f".{split}.partial-"))
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
        (partial / DIGESTS).write_text(sealed.to_text(sealed.digests_of(partial)))
        partial.chmod(0o755)
        durable.publish(partial, target / split)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _map_split(copy: Path, split: str) -> Split:
    """The split as read-only views of its array files."""
    images = np.asarray(open_memmap(copy / split / "images.npy", "r"))
    labels = np.asarray(open_memmap(copy / split / "labels.npy", "r"))
    return Split(images, labels)


class _RowGroup(NamedTuple):
    """The index of a row group's shard, its number in the shard, and its first row in the
    split."""

    shard: int
    number: int
    first: int


class StreamedImages:
    """The training images in shards, which are read when they are indexed like an array.

    The most recently used row groups are cached, up to `budget` bytes. If images are requested in
    the order that `order` draws, each row group is read once in an epoch. A process that receives
    the object opens the files again.
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
        groups = np.searchsorted(self.firsts, index, side="right") - 1
        for group in np.unique(groups):
            (rows,) = np.nonzero(groups == group)
            images[rows] = self._group(int(group))[index[rows] - self.firsts[group]]
        return images

    def order(self, count: int, draw: Draw) -> NDArray[np.int64]:
        """Draw the order of the first `count` images for one epoch, int64 [count].

        The row groups are put in a random order and divided into windows that fit the budget. Then
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
        """The images of a row group, which are read if they are not cached."""
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
        """The reader of a shard. It is opened once and stays open."""
        if position not in self.readers:
            self.readers[position] = ShardReader(self.folder, self.shards[position])
        return self.readers[position]
