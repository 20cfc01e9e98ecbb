"""Files and folders that genae writes, opened as other programs open them."""

import json
import os
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors.numpy import load_file

PICTURES = (".png", ".webp", ".avif")
TEXTS = (".txt", ".html", ".lock", "")


def read_folder(folder: Path) -> dict[str, Any]:
    """The rows of a folder of Parquet files, as each reader counts them: by its name.

    Hugging Face's datasets does not know Arrow's tensors, and is told to read their flat values.
    """
    schema = pq.read_schema(next(folder.glob("*.parquet")))
    counts = {
        "pyarrow": pq.read_table(folder).num_rows,
        "pandas": len(pandas.read_parquet(folder)),
    }
    with mock.patch.dict(os.environ, HF_HUB_OFFLINE="1", HF_HOME=str(folder.parent / "hf")):
        import datasets  # it reads the variables when it is imported

        datasets.disable_progress_bars()
        cache = str(folder.parent / "hf")
        features = datasets.Features.from_arrow_schema(pa.schema(map(_flatten, schema)))
        splits = datasets.load_dataset(
            "parquet", data_dir=str(folder), features=features, cache_dir=cache
        )
        counts["datasets"] = sum(len(split) for split in splits.values())
    return counts


def _flatten(field: pa.Field) -> pa.Field:
    """The column, with lists of values in place of tensors."""
    tensor = isinstance(field.type, pa.FixedShapeTensorType)
    return pa.field(field.name, field.type.storage_type) if tensor else field


def read_files(folder: Path) -> Counter[str]:
    """Open every file below a folder by its ending, and count them by ending.

    JSON is read strictly: NaN and Infinity are no JSON, and many readers refuse them.
    """
    counts: Counter[str] = Counter()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        ending = path.suffix
        counts[ending] += 1
        if ending in PICTURES:
            with Image.open(path) as picture:
                picture.load()
        elif ending == ".json":
            json.loads(path.read_bytes(), parse_constant=_refuse)
        elif ending == ".parquet":
            assert len(pandas.read_parquet(path)) == pq.ParquetFile(path).metadata.num_rows > 0
        elif ending == ".csv":
            pandas.read_csv(path)
        elif ending == ".npy":
            np.load(path, allow_pickle=False)
        elif ending == ".safetensors":
            assert load_file(path)
        elif ending == ".db":
            sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True).close()
        else:
            assert ending in TEXTS, f"no reader is known for {path}"
            path.read_text()
    return counts


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
