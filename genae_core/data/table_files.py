"""Tables of images in Arrow and Parquet files, as the library datasets of Hugging Face keeps them.

A row holds the bytes of an image file, and perhaps a class. Only pyarrow reads the files.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.data.folder_tree import list_names, split_named
from genae_core.data.own_splits import WHOLE
from genae_core.data.storage import Folder

DICT, STATE = "dataset_dict.json", "state.json"  # which `save_to_disk` writes
ENDINGS = (".arrow", ".parquet")
IMAGE_NAMES, LABEL_NAMES = ("image", "img"), ("label", "labels", "fine_label", "class", "target")


class TableFiles(NamedTuple):
    """The files of each split, in order.

    Attributes:
        folder: The folder.
        files: The paths of the files relative to the folder, by split: "train", "val", "test" or
            "" for images in no split.
        passed_over: The names of splits that are none of these.
    """

    folder: Folder
    files: dict[str, list[str]]
    passed_over: list[str]


class Columns(NamedTuple):
    """The columns that are read.

    Attributes:
        image: The column of the images.
        is_struct: Whether an image is a struct with the field bytes, and not the bytes themselves.
        label: The column of the classes, or None.
        classes: The names of the classes, if the table knows them.
    """

    image: str
    is_struct: bool
    label: str | None
    classes: tuple[str, ...]


def find_tables(root: str) -> TableFiles:
    """Find the files below a folder that `save_to_disk` wrote, or that hold a dataset of the Hub.

    Raises ValueError if there are none, or if their splits are ambiguous.
    """
    folder = Folder(root)
    if folder.local is not None and not folder.local.is_dir():
        raise ValueError(
            f"huggingface: {folder.uri} is no folder; give the folder that save_to_disk has "
            "written, or one with the .parquet files of a dataset"
        )
    if folder.exists("_manifest.json"):
        raise ValueError(f"huggingface: {folder.uri} holds shards of genae: give it as --shards")
    if folder.exists(DICT):
        names = _read_json(folder, DICT).get("splits", [])
        named = {str(name): _saved_files(folder, f"{name}/") for name in names}
        return _by_split(folder, named)
    if folder.exists(STATE):
        name = str(_read_json(folder, STATE).get("_split") or WHOLE)
        files = _saved_files(folder, "")
        return TableFiles(folder, {split_named(name) or WHOLE: files}, [])
    named = {}
    for file in folder.files(*ENDINGS):
        named.setdefault(_split_in_path(file.name), []).append(file.name)
    if not named:
        _, names = folder.children()
        raise ValueError(
            f"huggingface: {folder.uri} holds neither {DICT} nor {STATE} nor .arrow or .parquet "
            f"files, but {list_names(names, 5) or 'no files'}; write it with "
            "dataset.save_to_disk(FOLDER)"
        )
    if WHOLE in named and len(named) > 1:
        raise ValueError(
            f"huggingface: {folder.uri}: {list_names(named[WHOLE], 3)} are in no split, but "
            f"other files are; move them away, or name the split in the names of the files"
        )
    return _by_split(folder, named)


def find_columns(folder: Folder, file: str) -> Columns:
    """The columns of images and classes of a file. Raises ValueError if none holds images."""
    schema = read_schema(folder, file)
    features = _features(schema)
    kinds = {name: str(feature.get("_type", "")) for name, feature in features.items()}
    images = [name for name in schema.names if _holds_images(schema, name, kinds.get(name, ""))]
    if not images:
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise ValueError(
            f"{folder.path_of(file)}: no column holds images; there are {columns:.300}. An image "
            "column has the bytes of an image file in each row (the feature Image). For arrays of "
            "pixels, save them with numpy.savez and choose the dataset arrays"
        )
    preferred = [name for name in IMAGE_NAMES if name in images] or images
    if len(preferred) > 1:
        raise ValueError(
            f"{folder.path_of(file)}: the columns {', '.join(preferred)} all hold images; keep "
            "one of them: dataset.select_columns([...]).save_to_disk(FOLDER)"
        )
    label = _label_column(schema, kinds)
    classes = features.get(label or "", {}).get("names") or ()
    is_struct = hasattr(schema.field(preferred[0]).type, "get_field_index")
    is_struct = is_struct and schema.field(preferred[0]).type.num_fields > 0
    return Columns(preferred[0], is_struct, label, tuple(str(name) for name in classes))


def count_rows(folder: Folder, file: str) -> int:
    """The number of rows of a file. Raises ValueError if the file is malformed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with folder.open(file) as stream:
            size = stream.size()
            if file.endswith(".parquet"):
                count = int(pq.ParquetFile(stream).metadata.num_rows)
            else:
                count = sum(batch.num_rows for batch in _batches(folder, file))
    except (pa.ArrowException, OSError) as error:
        raise _malformed(folder, file, error) from None
    if not 0 <= count <= size:  # An image takes more than a byte.
        raise _malformed(folder, file, ValueError(f"{count:,} rows in {size:,} bytes"))
    return count


def read_labels(folder: Folder, file: str, column: str) -> NDArray[np.int64] | None:
    """The classes [N] in a file; None if some row has none, which is also written as -1."""
    chunks = _chunks(folder, file, column, None)[0]
    if any(chunk.null_count for chunk in chunks):
        return None
    parts = [np.zeros(0, np.int64), *(chunk.to_numpy().astype(np.int64) for chunk in chunks)]
    labels = np.concatenate(parts)
    return None if (labels < 0).any() else labels


def read_images(
    folder: Folder, file: str, columns: Columns, rows: NDArray[np.int64]
) -> Iterator[bytes | Exception]:
    """The bytes of the images in these ascending rows of a file.

    Where a row holds no bytes, there is an error in their place.
    """
    chunks, start = _chunks(folder, file, columns.image, rows)
    for chunk in chunks:
        # Taking from all chunks at once would copy them.
        own = rows[(rows >= start) & (rows < start + len(chunk))] - start
        for value in chunk.take(own).to_pylist():
            content = value.get("bytes") if isinstance(value, dict) else value
            if content is None:
                path = value.get("path") if isinstance(value, dict) else None
                yield ValueError("it holds no bytes" + (f", only the path {path}" if path else ""))
            else:
                yield content
        start += len(chunk)


def read_schema(folder: Folder, file: str) -> Any:
    """The Arrow schema of a file. Raises ValueError if the file is malformed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with folder.open(file) as stream:
            if file.endswith(".parquet"):
                return pq.ParquetFile(stream).schema_arrow
            return _open_ipc(stream).schema
    except (pa.ArrowException, OSError) as error:
        raise _malformed(folder, file, error) from None


def _malformed(folder: Folder, file: str, error: Exception) -> ValueError:
    reason = str(error).splitlines()[0]
    return ValueError(f"{folder.path_of(file)} is no whole Arrow or Parquet file: {reason}")


def _open_ipc(stream: Any) -> Any:
    """A reader of Arrow's stream format, which Hugging Face writes, or of its file format."""
    import pyarrow as pa

    is_file = stream.read(6) == b"ARROW1"
    stream.seek(0)
    return pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)


def _batches(folder: Folder, file: str) -> list[Any]:
    """The record batches of an Arrow file. Those of a local file are read when they are used."""
    import pyarrow as pa

    try:
        if folder.local is not None:
            stream = pa.memory_map(folder.path_of(file))
        else:
            stream = pa.BufferReader(folder.read(file))
        reader = _open_ipc(stream)
        if hasattr(reader, "num_record_batches"):
            return [reader.get_batch(number) for number in range(reader.num_record_batches)]
        return list(reader)
    except (pa.ArrowException, OSError) as error:
        raise _malformed(folder, file, error) from None


def _chunks(
    folder: Folder, file: str, name: str, rows: NDArray[np.int64] | None
) -> tuple[list[Any], int]:
    """The arrays that a column consists of, and the row at which they begin.

    Of a Parquet file, only the row groups between the first and the last of `rows` are read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if not file.endswith(".parquet"):
            return _validated(batch.column(name) for batch in _batches(folder, file)), 0
        with folder.open(file) as stream:
            table = pq.ParquetFile(stream)
            groups, start = [*range(table.num_row_groups)], 0
            if rows is not None:
                sizes = [table.metadata.row_group(number).num_rows for number in groups]
                ends = np.cumsum(sizes)
                first, last = np.searchsorted(ends, [rows[0], rows[-1]], side="right").tolist()
                groups, start = groups[first : last + 1], int(ends[first] - sizes[first])
            column = table.read_row_groups(groups, columns=[name], use_threads=False).column(name)
            return _validated(column.chunks), start
    except (pa.ArrowException, OSError) as error:
        raise _malformed(folder, file, error) from None


def _validated(chunks: Iterable[Any]) -> list[Any]:
    """The arrays, after a check of their offsets: Arrow trusts a file, and a wrong one would let
    it read outside of its memory."""
    checked = list(chunks)
    for chunk in checked:
        chunk.validate(full=True)
    return checked


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What the library datasets wrote about the columns, by name; empty if it wrote nothing."""
    try:
        about = json.loads((schema.metadata or {})[b"huggingface"])
        features = about["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _holds_images(schema: Any, name: str, kind: str) -> bool:
    """Whether a column holds the bytes of images."""
    import pyarrow as pa

    column = schema.field(name).type
    if pa.types.is_struct(column):
        return column.get_field_index("bytes") >= 0 and kind in ("", "Image")
    is_binary = pa.types.is_binary(column) or pa.types.is_large_binary(column)
    return is_binary and (kind == "Image" or name in IMAGE_NAMES)


def _label_column(schema: Any, kinds: Mapping[str, str]) -> str | None:
    """The column of the classes: the first of the usual names, or the first ClassLabel."""
    import pyarrow as pa

    labels = [name for name in schema.names if kinds.get(name) == "ClassLabel"]
    usual = [
        name
        for name in LABEL_NAMES
        if name in schema.names and pa.types.is_integer(schema.field(name).type)
    ]
    return next(iter([*usual, *labels]), None)


def _read_json(folder: Folder, name: str) -> dict[str, Any]:
    """The values in a file. Raises ValueError if it holds something else."""
    try:
        values = json.loads(folder.read(name))
    except ValueError as error:
        raise ValueError(f"{folder.path_of(name)} is no JSON file: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{folder.path_of(name)} holds no JSON object")
    return values


def _saved_files(folder: Folder, prefix: str) -> list[str]:
    """The Arrow files that `save_to_disk` wrote for one split."""
    path = f"{prefix}{STATE}"
    if not folder.exists(path):
        raise ValueError(f"huggingface: {folder.path_of(path)} is missing; save the dataset again")
    entries = _read_json(folder, path).get("_data_files") or []
    files = [f"{prefix}{entry['filename']}" for entry in entries]
    missing = [file for file in files if not folder.exists(file)]
    if missing or any(".." in file.split("/") for file in files):
        raise ValueError(
            f"huggingface: {folder.path_of(path)} names {list_names(missing or files, 3)}, which "
            "is not there; save the dataset again"
        )
    return files


def _split_in_path(path: str) -> str:
    """The word in a file's name, or in the name of its folder, that names a split; or ""."""
    stem = path.rpartition("/")[2].rpartition(".")[0]
    folder = path.rpartition("/")[0].rpartition("/")[2]
    for word in (*stem.split("-"), folder):
        if split_named(word) is not None:
            return word
    return WHOLE


def _by_split(folder: Folder, named: dict[str, list[str]]) -> TableFiles:
    """The files by genae's names of the splits. Raises ValueError if two names mean the same."""
    files: dict[str, list[str]] = {}
    passed_over: list[str] = []
    for name, paths in named.items():
        split = WHOLE if name == WHOLE else split_named(name)
        if split is None:
            passed_over.append(name)
        elif split in files:
            raise ValueError(
                f"huggingface: {folder.uri}: two splits both mean {split}, one of them is {name}; "
                "keep one of them"
            )
        else:
            files[split] = paths
    if not files:
        raise ValueError(
            f"huggingface: {folder.uri} holds the splits {', '.join(passed_over)}, but none of "
            "train, validation and test"
        )
    return TableFiles(folder, files, passed_over)
