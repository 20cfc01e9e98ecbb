"""A dataset of Hugging Face in a folder: as `save_to_disk` writes it, or as the Hub has it.

Shapes: N images.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genae_core.config import register
from genae_core.data.base import Rejected, Rows, Source
from genae_core.data.encoded_rows import Decoding, decode_rows
from genae_core.data.images import check_crop, check_size
from genae_core.data.official_files import check_flags, check_source, check_split_seed, stamp
from genae_core.data.own_splits import complete_splits, number_classes
from genae_core.data.storage import Folder
from genae_core.data.table_files import (
    Columns,
    TableFiles,
    count_rows,
    find_columns,
    find_tables,
    read_images,
    read_labels,
)


@register("data.huggingface")
@dataclass(frozen=True, kw_only=True)
class HuggingFaceConfig:
    """The images of a dataset that the library datasets of Hugging Face has saved.

    The splits are those of the dataset; missing ones are cut by the seed. Transparent pixels are
    laid on a white ground.

    Args:
        root: The folder that `save_to_disk` wrote, or one with the .parquet files of the Hub.
        size: The images are resized to size x size pixels: 28, or a multiple of 8.
        crop: The side of the central square that is used, as a fraction of the shorter side.
        split_seed: The seed of the cut.
        grey: Whether the images are read as grey values, with one channel, and not as RGB.

    Raises:
        ValueError: A field is out of range.
    """

    root: str
    size: int = 64
    crop: float = 1.0
    split_seed: int = 0
    grey: bool = False

    def __post_init__(self) -> None:
        check_source(self.root, False)
        check_size(self.size)
        check_crop(self.crop)
        check_flags(grey=self.grey)
        check_split_seed(self.split_seed)

    @property
    def name(self) -> str:
        return "huggingface"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1 if self.grey else 3, self.size, self.size)

    @property
    def binarize(self) -> bool:
        return False

    def stamp(self) -> str:
        return _stamp(find_tables(self.root))

    def source(self) -> Source:
        tables = find_tables(self.root)
        files = tuple(file for paths in tables.files.values() for file in paths)
        columns = find_columns(tables.folder, files[0])
        _check_columns_agree(tables.folder, files, columns)
        counts = [count_rows(tables.folder, file) for file in files]
        starts = dict(zip(files, np.cumsum([0, *counts[:-1]]).tolist(), strict=True))
        rows = {
            split: np.concatenate(
                [starts[file] + np.arange(counts[files.index(file)]) for file in paths]
            )
            for split, paths in tables.files.items()
        }
        index, notes = complete_splits(self.name, rows, self.split_seed)
        labels, label_notes = _read_all_labels(tables, files, columns, sum(counts))
        if tables.passed_over:
            notes.append(
                f"{self.name}: the splits {', '.join(tables.passed_over)} are passed over."
            )
        has_classes = columns.label is not None and not label_notes
        return TableSource(
            folder=tables.folder,
            files=files,
            starts=tuple(starts.values()),
            columns=columns,
            index=index,
            labels=labels,
            stamp=_stamp(tables),
            decoding=Decoding(self.size, self.crop, None, self.grey),
            label_names=_class_names(columns, labels) if has_classes else (),
            notes=(*notes, *label_notes),
        )


@dataclass(frozen=True)
class TableSource:
    """The `Source` of images that lie in the rows of tables.

    Attributes:
        folder: The folder of the tables.
        files: The tables.
        starts: The number of rows before each table.
        columns: The columns that are read.
        index: The rows of each split, ascending, counted over all tables.
        labels: The class of every row.
        stamp: As in `Source`.
        decoding: How the images are decoded.
        label_names: As in `Source`, like notes and rejected.
        notes: Sentences for the user.
        rejected: Rows that are in no split.
    """

    folder: Folder
    files: tuple[str, ...]
    starts: tuple[int, ...]
    columns: Columns
    index: dict[str, NDArray[np.int64]]
    labels: NDArray[np.int64]
    stamp: str
    decoding: Decoding
    label_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows of each split."""
        return {split: len(rows) for split, rows in self.index.items()}

    def read(self, split: str, first: int, last: int) -> Rows:
        """Read and decode rows first, ..., last - 1 of a split."""
        rows = self.index[split][first:last]
        table = np.searchsorted(self.starts, rows, side="right") - 1
        names = [
            f"{self.files[number]}#{row - self.starts[number]}"
            for number, row in zip(table.tolist(), rows.tolist(), strict=True)
        ]
        return decode_rows(self._contents(table, rows), names, self.labels[rows], self.decoding)

    def _contents(
        self, table: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[bytes | Exception]:
        """The bytes of the image in each row."""
        for number in np.unique(table).tolist():
            own = rows[table == number] - self.starts[number]
            yield from read_images(self.folder, self.files[number], self.columns, own)


def _stamp(tables: TableFiles) -> str:
    """The stamp of the tables, as in `DataConfig.stamp`."""
    wanted = {file for paths in tables.files.values() for file in paths}
    return stamp(file for file in tables.folder.files() if file.name in wanted)


def _check_columns_agree(folder: Folder, files: tuple[str, ...], columns: Columns) -> None:
    """Raise ValueError if a table has other columns than the first one."""
    for file in files[1:]:
        other = find_columns(folder, file)
        if other != columns:
            raise ValueError(
                f"{folder.path_of(file)} has the columns {other.image} and {other.label} with "
                f"{len(other.classes)} classes, but {files[0]} has {columns.image} and "
                f"{columns.label} with {len(columns.classes)}"
            )


def _read_all_labels(
    tables: TableFiles, files: tuple[str, ...], columns: Columns, count: int
) -> tuple[NDArray[np.int64], list[str]]:
    """The class of every row, and a note if the classes cannot be used."""
    none = np.zeros(count, np.int64)
    if columns.label is None:
        return none, []
    parts = []
    for file in files:
        labels = read_labels(tables.folder, file, columns.label)
        if labels is None:
            note = (
                f"huggingface: rows of {file} have no {columns.label} (or -1), so the images are "
                "used without classes."
            )
            return none, [note]
        parts.append(labels)
    return np.concatenate(parts), []


def _class_names(columns: Columns, labels: NDArray[np.int64]) -> tuple[str, ...]:
    """The names of the classes; their numbers, if the table does not name them.

    Raises ValueError if a label is no number of a class.
    """
    what = f"huggingface: {columns.label}"
    if not columns.classes:
        return number_classes(what, labels)
    if labels.max() >= len(columns.classes):
        raise ValueError(
            f"{what}: there are {len(columns.classes)} classes, counted from 0, but a row has the "
            f"class {labels.max()}"
        )
    return columns.classes
