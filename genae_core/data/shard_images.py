"""Reading shards: one copy a node, mapped by all its processes; or a stream, where that is too
much.

Shapes: N images, C channels, H rows, W columns, B indices asked for.
"""

import os
import shutil
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from genae_core.config import require
from genae_core.data.base import Split, Splits
from genae_core.data.shards import Manifest, ShardReader, read_manifest
from genae_core.data.storage import Folder
from genae_core.distributions.rng import Draw

READING_GROUPS = 2  # a row group that is being read exists twice, as Parquet's and as ours


def open_shards(
    folder: Folder, cache: Path, budget: int | None = None, readers: int = 1
) -> Splits:
    """The splits of prepared shards.

    The images are mapped, read-only, from a copy under `cache`, which this node's first call
    makes and checks against the manifest. budget: bytes; a training split that is larger is
    streamed from the shards instead, and a note says so; `readers` processes that do so at a
    time share the budget. Labels are always in memory.
    Raises ValueError for a missing or newer manifest and for a shard that was changed.
    """
    manifest = read_manifest(folder)
    size = manifest.rows("train") * int(np.prod(manifest.shape))
    streamed = budget is not None and size > budget
    resident = ("val", "test") if streamed else ("train", "val", "test")
    home = _node_copy(manifest, folder, cache, resident)
    splits = {name: _mapped(home, name) for name in resident}
    notes = list(manifest.notes)
    if budget is not None and streamed:
        images = StreamedImages(folder.uri, manifest, budget // readers)
        splits["train"] = Split(images, images.labels())
        notes.append(
            f"{manifest.dataset}: the training images take {size / 2**30:.1f} GiB, more than the "
            f"budget of {budget / 2**30:.1f} GiB: they are streamed, and shuffled within windows "
            f"of {images.window_rows:,} images"
        )
    return Splits(splits["train"], splits["val"], splits["test"], tuple(notes), manifest.sha256())


def _node_copy(manifest: Manifest, folder: Folder, cache: Path, resident: tuple[str, ...]) -> Path:
    """The folder with an array file for each of these splits' images and labels."""
    home = cache / f"{manifest.dataset}-{manifest.sha256()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{home.name}.lock"):
        for split in resident:
            if not (home / split).is_dir():
                _copy_split(manifest, folder, home, split)
    return home


def _copy_split(manifest: Manifest, folder: Folder, home: Path, split: str) -> None:
    home.mkdir(exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=home, prefix=f".{split}-"))
    try:
        rows, first = manifest.rows(split), 0
        shape = (rows, *manifest.shape)
        images = open_memmap(partial / "images.npy", "w+", np.uint8, shape)
        labels = []
        for shard in manifest.of(split):
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


def _mapped(home: Path, split: str) -> Split:
    images, labels = (
        np.asarray(open_memmap(home / split / f"{part}.npy", "r")) for part in ("images", "labels")
    )
    return Split(images, labels)


class StreamedImages:
    """The training images in shards, read as they are asked for; `images[index]` as of an array.

    It keeps the row groups that were used last, `budget` bytes of them, so what is asked for in
    the order of `order` is read once an epoch. Another process opens the files for itself.
    """

    def __init__(self, uri: str, manifest: Manifest, budget: int) -> None:
        self.arguments = (uri, manifest, budget)
        self.folder = Folder(uri)
        self.shards = manifest.of("train")
        rows = np.array([shard.rows for shard in self.shards])
        self.shape: tuple[int, int, int, int] = (int(rows.sum()), *manifest.shape)
        image_bytes = int(np.prod(manifest.shape))
        # A row group each: its shard, its number there, and the split's first row in it.
        self.groups = [
            (position, number, start + first)
            for position, (start, count) in enumerate(
                zip(np.cumsum(rows) - rows, rows, strict=True)
            )
            for number, first in enumerate(range(0, count, manifest.group_rows))
        ]
        self.firsts = np.array([first for _, _, first in self.groups])
        groups = budget // (manifest.group_rows * image_bytes)
        self.capacity = max(1, groups - READING_GROUPS)
        self.window_rows = min(self.shape[0], self.capacity * manifest.group_rows)
        self.kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self.readers: dict[int, ShardReader] = {}

    def __reduce__(self) -> tuple[type["StreamedImages"], tuple[Any, ...]]:
        return StreamedImages, self.arguments

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images at int64 [B], as uint8 [B, C, H, W]."""
        if len(index) and not 0 <= index.min() <= index.max() < len(self):
            raise IndexError(f"images are 0..{len(self) - 1}, got {index.min()}..{index.max()}")
        images = np.empty((len(index), *self.shape[1:]), np.uint8)
        where = np.searchsorted(self.firsts, index, side="right") - 1
        for group in np.unique(where):
            (rows,) = np.nonzero(where == group)
            images[rows] = self._group(int(group))[index[rows] - self.firsts[group]]
        return images

    def order(self, count: int, draw: Draw) -> NDArray[np.int64]:
        """An epoch's order of the first `count` images: the row groups in a random order, cut
        into windows that fit the budget, and the images of each window shuffled."""
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
        if group in self.kept:
            self.kept.move_to_end(group)
            return self.kept[group]
        while len(self.kept) >= self.capacity:
            self.kept.popitem(last=False)
        position, number, _ = self.groups[group]
        # A copy, so that Parquet's own memory goes back at once.
        self.kept[group] = self._reader(position).images(number).copy()
        return self.kept[group]

    def _reader(self, position: int) -> ShardReader:
        if position not in self.readers:
            self.readers[position] = ShardReader(self.folder, self.shards[position])
        return self.readers[position]
