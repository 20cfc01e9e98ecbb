"""Shards: a decoded dataset as Parquet files and a manifest. Only this module knows their format.

A shard holds consecutive rows of one split: the images as a fixed-shape uint8 tensor column,
their classes or attributes, and their names. The manifest lists every shard with its sha256. A
folder without a manifest is not a finished dataset.
Shapes: N images, C channels, H rows, W columns, A binary attributes.
"""

import hashlib
import json
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core import config
from genae_core.config.command_name import command_line
from genae_core.data import sealed
from genae_core.data.base import SPLITS, DataConfig, Rejected, Rows, Source
from genae_core.data.storage import FileWriter, Folder

FORMAT = 1
# pyarrow, pandas and Spark read a folder of Parquet files and pass over names that begin with "_".
MANIFEST = "_manifest.json"
FORMER_MANIFEST = "manifest.json"  # the name up to version 0.1
SHARD_BYTES = 128 * 2**20
GROUP_BYTES = 8 * 2**20  # the size of a row group, which a stream reads as a whole
WHERE = ("root", "download")  # the fields of a config that say where the files are
IMAGE, LABEL, ATTRIBUTES, NAME = "image", "label", "attributes", "name"


class ShardSpec(NamedTuple):
    """A shard to make from rows first, ..., last - 1 of a split."""

    split: str
    number: int
    first: int
    last: int

    @property
    def file(self) -> str:
        """The name of the shard's file."""
        return f"{self.split}-{self.number:05d}.parquet"


class Shard(NamedTuple):
    """A shard on disk.

    Attributes:
        file: The name of its file.
        split: The name of its split.
        rows_in: The number of source rows.
        rows: The number of usable source rows, which are the rows of the shard.
        bytes: The size of the file in bytes.
        sha256: The sha256 (hex) of the file.
        source_sha256: The sha256 (hex) over the bytes of the source.
        rejected: The unusable source rows.
        copies: The source rows that are left out, because they are copies of images that are held
            out.
        digests: The digest (hex) of the pixels of each row; empty in a manifest, where nothing
            needs them.
    """

    file: str
    split: str
    rows_in: int
    rows: int
    bytes: int
    sha256: str
    source_sha256: str
    rejected: tuple[Rejected, ...]
    copies: tuple[Rejected, ...] = ()
    digests: tuple[str, ...] = ()


class Manifest(NamedTuple):
    """The content of a folder of shards, and where it comes from.

    Attributes:
        dataset: The name of the dataset.
        shape: (C, H, W).
        group_rows: The number of rows of a row group; the last one of a shard may have fewer.
        preprocessing: The dataset's config without the location of its files.
        label_names: The names of the classes or attributes.
        rows_in: The number of source rows.
        rejected: The number of unusable source rows.
        shards: The shards.
        notes: As in `Splits`.
        genae: The version of genae that wrote the shards.
        copies: The number of source rows that are left out, because they are copies of images
            that are held out. None if the shards were made before genae looked for copies.
    """

    dataset: str
    shape: tuple[int, int, int]
    group_rows: int
    preprocessing: dict[str, Any]
    label_names: tuple[str, ...]
    rows_in: int
    rejected: int
    shards: tuple[Shard, ...]
    notes: tuple[str, ...]
    genae: str
    copies: int | None = None

    def shards_of(self, split: str) -> tuple[Shard, ...]:
        """The shards of a split, in order."""
        return tuple(shard for shard in self.shards if shard.split == split)

    def rows(self, split: str) -> int:
        """The number of images of a split."""
        return sum(shard.rows for shard in self.shards_of(split))

    def sha256(self) -> str:
        """The sha256 (hex) over the digests of the shards, which identifies the decoded data."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.shards).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of the manifest's file, which is sealed."""
        shards = []
        for shard in self.shards:
            values = shard._asdict()
            for name in ("rejected", "copies", "digests"):
                del values[name]
            shards.append(values)
        return sealed.to_text({"format": FORMAT, **self._asdict(), "shards": shards})


def group_rows(shape: tuple[int, int, int]) -> int:
    """The number of images of this shape in a row group."""
    return max(1, GROUP_BYTES // int(np.prod(shape)))


def plan(source: Source, shape: tuple[int, int, int]) -> list[ShardSpec]:
    """Divide each split of a source evenly into shards of at most SHARD_BYTES of pixels."""
    max_rows = max(1, SHARD_BYTES // int(np.prod(shape)))
    specs = []
    for split, count in source.counts.items():
        cuts = np.linspace(0, count, -(-count // max_rows) + 1).astype(int).tolist()
        for number, (first, last) in enumerate(pairwise(cuts)):
            specs.append(ShardSpec(split, number, first, last))
    return specs


def write_shard(
    source: Source, spec: ShardSpec, folder: Folder, shape: tuple[int, int, int]
) -> tuple[Shard, dict[str, float]]:
    """Decode rows and write their shard, completely or not at all.

    Row groups are decoded and written one by one, so memory holds at most two of them. The same
    rows give the same bytes. Returns the shard and the seconds of each stage. Raises OSError if a
    disk or a store fails.
    """
    import pyarrow as pa

    step = group_rows(shape)
    digest = hashlib.sha256()
    seconds = dict.fromkeys(("read", "decode", "write"), 0.0)
    rejected: list[Rejected] = []
    digests: list[str] = []
    table = _table(source.read(spec.split, spec.first, spec.first))
    with folder.open_to_write(spec.file) as file, _writer(file, table.schema) as writer:
        for first in range(spec.first, spec.last, step):
            rows = source.read(spec.split, first, min(first + step, spec.last))
            digest.update(rows.digest.encode())
            rejected += rows.rejected
            digests += [digest_pixels(image) for image in rows.images]
            for stage, spent in rows.seconds.items():
                seconds[stage] += spent
            began = time.perf_counter()
            table = pa.concat_tables([table, _table(rows)])
            if len(table) >= step:
                writer.write_table(table[:step])
                table = table[step:]
            seconds["write"] += time.perf_counter() - began
        began = time.perf_counter()
        if len(table):
            writer.write_table(table)
    seconds["write"] += time.perf_counter() - began
    shard = Shard(
        file=spec.file,
        split=spec.split,
        rows_in=spec.last - spec.first,
        rows=len(digests),
        bytes=file.bytes,
        sha256=file.digest.hexdigest(),
        source_sha256=digest.hexdigest(),
        rejected=tuple(rejected),
        digests=tuple(digests),
    )
    return shard, seconds


def digest_pixels(image: NDArray[np.uint8]) -> str:
    """A digest (hex) of the pixels of an image, the same for the same pixels."""
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).hexdigest()


def read_digests(shard: Shard, folder: Folder) -> tuple[str, ...]:
    """The digests of the rows of a shard, from its images."""
    with ShardReader(folder, shard) as reader:
        groups = (reader.images(group) for group in range(reader.groups))
        return tuple(digest_pixels(image) for images in groups for image in images)


def drop_rows(shard: Shard, folder: Folder, rows: dict[int, str], step: int) -> Shard:
    """Write a shard again without some of its rows, completely or not at all.

    Args:
        shard: The shard.
        folder: Its folder.
        rows: The rows to leave out, and the reason of each.
        step: The number of rows of a row group.

    Returns:
        The new shard, which lists the rows as copies.
    """
    with ShardReader(folder, shard) as reader:
        table = reader.file.read(use_threads=False)
    names = table.column(NAME).to_pylist()
    kept = [row for row in range(shard.rows) if row not in rows]
    table = table.take(kept)
    with folder.open_to_write(shard.file) as file, _writer(file, table.schema) as writer:
        for first in range(0, len(kept), step):
            writer.write_table(table[first : first + step].combine_chunks())
    copies = tuple(Rejected(names[row], reason) for row, reason in rows.items())
    return shard._replace(
        rows=len(kept),
        bytes=file.bytes,
        sha256=file.digest.hexdigest(),
        copies=(*shard.copies, *copies),
        digests=tuple(shard.digests[row] for row in kept),
    )


def _table(rows: Rows) -> Any:
    """An Arrow table of decoded rows."""
    import pyarrow as pa

    columns = {IMAGE: to_tensor_array(rows.images)}
    if rows.labels.ndim == 1:
        columns[LABEL] = pa.array(rows.labels)
    else:
        columns[ATTRIBUTES] = to_tensor_array(rows.labels)
    columns[NAME] = pa.array(rows.names, pa.string())
    return pa.table(columns)


def to_tensor_array(values: NDArray[Any]) -> Any:
    """Convert uint8 [N, ...] to an Arrow array of fixed-shape tensors; N may be 0."""
    import pyarrow as pa

    shape = values.shape[1:]
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(shape)))
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint8(), shape), lists)


def _writer(file: FileWriter, schema: Any) -> Any:
    """A Parquet writer with the settings of a shard."""
    import pyarrow.parquet as pq

    planes = (IMAGE, ATTRIBUTES)
    return pq.ParquetWriter(
        file,
        schema,
        # Parquet has no uint8 and stores four bytes for each value. Three of the four byte planes
        # are zeros, which LZ4 compresses to almost nothing. This takes half the time of a
        # dictionary and gives the same size.
        use_byte_stream_split=[f"{name}.list.element" for name in planes if name in schema.names],
        use_dictionary=False,
        compression="lz4",
        # In values: about ten images. The default is a twelfth of an image.
        write_batch_size=2**17,
        write_statistics=False,
        write_page_checksum=True,
    )


def preprocessing_of(data: DataConfig) -> dict[str, Any]:
    """The part of a dataset's config that decides the images, as JSON values."""
    values = json.loads(config.to_json(data))
    return {name: value for name, value in values.items() if name not in WHERE}


def manifest_of(data: DataConfig, source: Source, shards: list[Shard]) -> Manifest:
    """The manifest of finished shards. Raises AssertionError if a row is missing."""
    order = [*source.counts]
    shards = sorted(shards, key=lambda shard: (order.index(shard.split), shard.file))
    rows_in = sum(source.counts.values())
    rejected = sum(len(shard.rejected) for shard in shards)
    copies = sum(len(shard.copies) for shard in shards)
    rows_out = sum(shard.rows for shard in shards)
    lost = f"of {rows_in} rows, {rows_out} were written, {rejected} rejected, {copies} copies"
    assert rows_in == rows_out + rejected + copies, lost
    return Manifest(
        dataset=data.name,
        shape=data.shape,
        group_rows=group_rows(data.shape),
        preprocessing=preprocessing_of(data),
        label_names=source.label_names,
        rows_in=rows_in + len(source.rejected),
        rejected=rejected + len(source.rejected),
        shards=tuple(shard._replace(digests=()) for shard in shards),
        notes=source.notes,
        genae=version("genae"),
        copies=copies,
    )


def find_manifest(folder: Folder) -> str | None:
    """The name of the manifest's file in a folder; None if there is none."""
    names = (MANIFEST, FORMER_MANIFEST)
    return next((name for name in names if folder.exists(name)), None)


def read_manifest(folder: Folder) -> Manifest:
    """The manifest. Raises ValueError if it is missing, damaged or of another format."""
    name = find_manifest(folder) or MANIFEST
    path = folder.path_of(name)
    try:
        values = sealed.from_text(folder.read(name), "it")
    except FileNotFoundError:
        raise ValueError(
            f"{folder.uri} holds no finished dataset: there is no {MANIFEST}; prepare it with "
            f"{command_line('prepare')}"
        ) from None
    except ValueError as error:
        raise _no_manifest(path, folder, error) from None
    version_of_format = values.pop("format", None)
    if version_of_format != FORMAT:
        raise ValueError(
            f"{path} has format {version_of_format!r}, and this genae reads {FORMAT}: "
            "use the genae that wrote it, or prepare the data again"
        )
    try:
        shards = tuple(Shard(**shard, rejected=()) for shard in values["shards"])
        tuples = {name: tuple(values[name]) for name in ("shape", "label_names", "notes")}
        manifest = Manifest(**{**values, **tuples, "shards": shards})
        _check_manifest(manifest)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise _no_manifest(path, folder, error) from None
    return manifest


def _no_manifest(path: str, folder: Folder, error: Exception) -> ValueError:
    """The error of a manifest that cannot be used."""
    return ValueError(
        f"{path} is no manifest: {error}; delete {folder.uri} and prepare the data again"
    )


def _check_manifest(manifest: Manifest) -> None:
    """Raise ValueError if a value has another type, is out of range, or is a path."""
    for name in (manifest.dataset, *(shard.file for shard in manifest.shards)):
        # Names become parts of paths, and a foreign manifest must not lead out of the folder.
        is_plain = isinstance(name, str) and name == PurePath(name).name not in ("", "..")
        config.require(is_plain, "files and datasets have plain names", name=name)
    for shard in manifest.shards:
        config.require(shard.split in SPLITS, f"a split is one of {SPLITS}", split=shard.split)
        config.require_int(rows=shard.rows)
        config.require(shard.rows >= 0, "rows must be >= 0", rows=shard.rows)
    config.require(len(manifest.shape) == 3, "a shape has 3 parts", shape=manifest.shape)
    config.require_positive_int(group_rows=manifest.group_rows)
    for size in manifest.shape:
        config.require_positive_int(shape=size)


class ShardReader:
    """An open shard, which a `with` block closes.

    The constructor and every read raise ValueError if the bytes of the file are not the bytes that
    were written. The file may change while it is open.
    """

    def __init__(self, folder: Folder, shard: Shard) -> None:
        import pyarrow.parquet as pq

        self.folder, self.shard = folder, shard
        self._check()
        self.file = pq.ParquetFile(folder.open(shard.file), page_checksum_verification=True)
        self.groups: int = self.file.num_row_groups

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def images(self, group: int) -> NDArray[np.uint8]:
        """The images [N, C, H, W] of a row group."""
        images: NDArray[np.uint8] = self._column(IMAGE, group).to_numpy_ndarray()
        return images

    def labels(self) -> NDArray[np.int64] | NDArray[np.uint8]:
        """The labels, int64 [N] or uint8 [N, A]."""
        (name,) = {LABEL, ATTRIBUTES} & set(self.file.schema_arrow.names)
        column = self._column(name, *range(self.groups))
        labels: NDArray[np.int64] = (
            column.to_numpy() if name == LABEL else column.to_numpy_ndarray()
        )
        return labels

    def _column(self, name: str, *groups: int) -> Any:
        """A column of some row groups, as one Arrow array."""
        try:
            table = self.file.read_row_groups(groups, columns=[name], use_threads=False)
        except Exception:  # pyarrow has many errors for a page that differs from its checksum.
            self._check()
            raise
        return table.column(name).combine_chunks()

    def _check(self) -> None:
        """Raise ValueError if the sha256 of the file is not the sha256 in the manifest."""
        digest = self.folder.sha256(self.shard.file)
        if digest != self.shard.sha256:
            raise ValueError(
                f"{self.folder.path_of(self.shard.file)} is not the shard that was written: its "
                f"sha256 is {digest}, the manifest says {self.shard.sha256}; prepare the data "
                "again"
            )
