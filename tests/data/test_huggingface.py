"""Folders of the library datasets of Hugging Face, which the library itself writes here."""

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from genae_core.config import from_json, to_json
from genae_core.data.base import load
from genae_core.data.huggingface import HuggingFaceConfig

COUNT = 20
TINTS = (np.arange(COUNT) * 12).astype(np.uint8)  # the grey value of each picture
NAMES = ["cat", "dog", "owl"]
FEATURES = datasets.Features(
    {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
)


def picture(number: int) -> Image.Image:
    return Image.new("RGB", (20, 28), (int(TINTS[number]),) * 3)


def rows(numbers: range) -> dict[str, list[Any]]:
    return {
        "image": [picture(number) for number in numbers],
        "label": [number % 3 for number in numbers],
    }


def dataset(numbers: range = range(COUNT)) -> datasets.Dataset:
    return datasets.Dataset.from_dict(rows(numbers), features=FEATURES)


def tints(images: Any) -> list[int]:
    """The grey value of each image, which is the same everywhere."""
    assert (images.max(axis=(1, 2, 3)) == images.min(axis=(1, 2, 3))).all()
    return [int(image.flat[0]) for image in images]


def check_whole(root: Path, grey: bool = False) -> None:
    """All pictures are there, each with its class, in 6/8, 1/8 and 1/8."""
    config = HuggingFaceConfig(root=str(root), size=32, grey=grey)
    splits, source = load(config), config.source()
    assert [len(split.images) for split in splits[:3]] == [16, 2, 2]
    assert splits.train.images.shape[1:] == config.shape == (1 if grey else 3, 32, 32)
    by_tint = {}
    for split in splits[:3]:
        by_tint |= dict(zip(tints(split.images), split.labels.tolist(), strict=True))
    assert by_tint == {int(tint): number % 3 for number, tint in enumerate(TINTS)}
    assert source.label_names == tuple(NAMES) and source.stamp == config.stamp()


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("grey", [False, True])
def test_a_saved_dataset(tmp_path: Path, shards: int, grey: bool) -> None:
    dataset().save_to_disk(tmp_path / "saved", num_shards=shards)
    check_whole(tmp_path / "saved", grey)


def test_saved_splits_are_kept(tmp_path: Path) -> None:
    parts = {"train": range(10), "validation": range(10, 14), "test": range(14, 18)}
    parts["unsupervised"] = range(18, 20)
    saved = {split: dataset(numbers) for split, numbers in parts.items()}
    datasets.DatasetDict(saved).save_to_disk(tmp_path)
    splits = load(HuggingFaceConfig(root=str(tmp_path), size=32))
    assert tints(splits.train.images) == TINTS[:10].tolist()
    assert tints(splits.val.images) == TINTS[10:14].tolist()
    assert tints(splits.test.images) == TINTS[14:18].tolist()
    assert "huggingface: the splits unsupervised are passed over." in splits.notes


def test_a_missing_split_is_cut(tmp_path: Path) -> None:
    saved = {"train": dataset(range(16)), "test": dataset(range(16, 20))}
    datasets.DatasetDict(saved).save_to_disk(tmp_path)
    splits = load(HuggingFaceConfig(root=str(tmp_path), size=32))
    assert [len(split.images) for split in splits[:3]] == [14, 2, 4]
    assert sorted(tints(splits.train.images) + tints(splits.val.images)) == TINTS[:16].tolist()


def test_parquet_files_of_the_hub(tmp_path: Path) -> None:
    """Several row groups: those that a part does not need are not read."""
    (tmp_path / "data").mkdir()
    table = dataset().data.table
    pq.write_table(table, tmp_path / "data" / "train-00000-of-00001.parquet", row_group_size=3)
    check_whole(tmp_path)
    pq.write_table(table[:4], tmp_path / "data" / "test-00000-of-00001.parquet")
    splits = load(HuggingFaceConfig(root=str(tmp_path), size=32))
    assert tints(splits.test.images) == TINTS[:4].tolist()


def test_rows_are_read_in_parts(tmp_path: Path) -> None:
    dataset().save_to_disk(tmp_path, num_shards=4)
    source = HuggingFaceConfig(root=str(tmp_path), size=32).source()
    whole = source.read("train", 0, 16)
    parts = [source.read("train", first, first + 4) for first in range(0, 16, 4)]
    np.testing.assert_array_equal(whole.images, np.concatenate([part.images for part in parts]))
    assert whole.names == sum((part.names for part in parts), [])
    assert len(set(whole.names)) == 16


def test_rows_without_bytes_are_rejected(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    picture(3).save(buffer, "PNG")
    content = [{"bytes": buffer.getvalue(), "path": None}] * 8
    content[2] = {"bytes": None, "path": "far/away.png"}
    content[5] = {"bytes": b"no image", "path": None}
    pq.write_table(pa.table({"image": content}), tmp_path / "train.parquet")
    source = HuggingFaceConfig(root=str(tmp_path), size=32).source()
    rejected = {
        row.name: row.reason
        for split, count in source.counts.items()
        for row in source.read(split, 0, count).rejected
    }
    assert "only the path far/away.png" in rejected["train.parquet#2"]
    assert "not an image of a known format" in rejected["train.parquet#5"]
    assert len(rejected) == 2 and source.label_names == ()


def test_missing_classes_are_noted(tmp_path: Path) -> None:
    values = rows(range(8))
    values["label"][3] = -1  # as the Hub marks images without a class
    datasets.Dataset.from_dict(values, features=FEATURES).save_to_disk(tmp_path)
    splits = load(HuggingFaceConfig(root=str(tmp_path), size=32))
    assert "have no label (or -1), so the images are used without classes" in splits.notes[-1]
    assert not splits.train.labels.any()


def test_folders_without_images_say_what_they_hold(tmp_path: Path) -> None:
    texts = datasets.Dataset.from_dict({"text": ["a"] * 4, "label": [0] * 4})
    texts.save_to_disk(tmp_path / "texts")
    with pytest.raises(ValueError, match=r"no column holds images; there are text \(string\), la"):
        load(HuggingFaceConfig(root=str(tmp_path / "texts")))
    two = datasets.Dataset.from_dict(
        {"left": [picture(1)] * 4, "right": [picture(2)] * 4},
        features=datasets.Features({"left": datasets.Image(), "right": datasets.Image()}),
    )
    two.save_to_disk(tmp_path / "two")
    with pytest.raises(ValueError, match="left, right all hold images; keep one of them"):
        load(HuggingFaceConfig(root=str(tmp_path / "two")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds neither .* but no files; write it with"):
        load(HuggingFaceConfig(root=str(tmp_path / "empty")))
    with pytest.raises(ValueError, match="nowhere is no folder; give the folder that save_to"):
        load(HuggingFaceConfig(root=str(tmp_path / "nowhere")))


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    dataset().save_to_disk(tmp_path)
    (file,) = tmp_path.glob("*.arrow")
    whole = file.read_bytes()
    for content in (b"", b"no arrow", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="is no whole Arrow or Parquet file"):
            load(HuggingFaceConfig(root=str(tmp_path)))
    file.unlink()
    with pytest.raises(ValueError, match=r"names data-00000-of-00001.arrow, which is not there"):
        load(HuggingFaceConfig(root=str(tmp_path)))
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"state.json is no JSON file"):
        load(HuggingFaceConfig(root=str(tmp_path)))
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "../x.arrow"}]}')
    with pytest.raises(ValueError, match="which is not there"):
        load(HuggingFaceConfig(root=str(tmp_path)))


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_damaged_bytes_are_errors_of_their_own(tmp_path: Path, kind: str) -> None:
    """Arrow itself trusts the offsets in a file, and would read outside of its memory."""
    if kind == "arrow":
        dataset().save_to_disk(tmp_path)
        (file,) = tmp_path.glob("*.arrow")
    else:
        file = tmp_path / "train.parquet"
        pq.write_table(dataset().data.table, file)
    whole = file.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        content = bytearray(whole)
        for _ in range(int(generator.integers(1, 5))):
            content[int(generator.integers(len(content)))] = int(generator.integers(256))
        file.write_bytes(content)
        try:
            source = HuggingFaceConfig(root=str(tmp_path), size=32).source()
            for split, count in source.counts.items():
                source.read(split, 0, count)
        except ValueError:
            refused += 1
    assert refused > 15


def test_ambiguous_splits_are_refused(tmp_path: Path) -> None:
    table = dataset().data.table
    pq.write_table(table, tmp_path / "train.parquet")
    pq.write_table(table, tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other.parquet are in no split, but other files are"):
        load(HuggingFaceConfig(root=str(tmp_path)))
    (tmp_path / "other.parquet").rename(tmp_path / "training.parquet")
    with pytest.raises(ValueError, match="two splits both mean train"):
        load(HuggingFaceConfig(root=str(tmp_path)))


def test_the_config() -> None:
    config = HuggingFaceConfig(root="data", size=28, grey=True)
    assert (config.name, config.shape, config.binarize) == ("huggingface", (1, 28, 28), False)
    assert from_json(to_json(config)) == config
    with pytest.raises(ValueError, match="grey must be True or False, got grey=1"):
        HuggingFaceConfig(root="data", grey=1)  # type: ignore[arg-type]
