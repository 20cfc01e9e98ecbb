"""CIFAR-10 and CIFAR-100 in small files of their two formats."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.pickles import python2_batch

from genae_core.config import from_json, to_json
from genae_core.data.base import load
from genae_core.data.cifar import CIFAR10Config, CIFAR100Config
from genae_core.data.cifar_files import PIXELS

RNG = np.random.default_rng(11)
PYTHON10, BINARY10 = "cifar-10-batches-py", "cifar-10-batches-bin"
PYTHON100, BINARY100 = "cifar-100-python", "cifar-100-binary"
ROWS, TEST_ROWS = 2, 4
NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def rows(count: int, classes: int) -> tuple[np.ndarray[Any, Any], list[int]]:
    """Rows of 3072 pixels, and their classes."""
    pixels = RNG.integers(0, 256, (count, PIXELS), np.uint8)
    return pixels, RNG.permutation(classes)[:count].tolist()


BATCHES = {name: rows(TEST_ROWS if name == "test_batch" else ROWS, 10) for name in NAMES}
HUNDRED = {"train": rows(12, 100), "test": rows(6, 100)}


def write_python10(root: Path) -> Path:
    """The files as Python 2 wrote the official ones."""
    folder = root / PYTHON10
    folder.mkdir(parents=True)
    for name, (pixels, labels) in BATCHES.items():
        content = python2_batch(pixels.tobytes(), len(pixels), PIXELS, labels)
        (folder / name).write_bytes(content)
    (folder / "batches.meta").write_bytes(b"not read")
    return folder


def write_binary10(root: Path) -> Path:
    """A row is the class and the pixels."""
    folder = root / BINARY10
    folder.mkdir(parents=True)
    for name, (pixels, labels) in BATCHES.items():
        content = b"".join(bytes((y,)) + x.tobytes() for x, y in zip(pixels, labels, strict=True))
        (folder / f"{name}.bin").write_bytes(content)
    return folder


def write_python100(root: Path) -> Path:
    folder = root / PYTHON100
    folder.mkdir(parents=True)
    for name, (pixels, labels) in HUNDRED.items():
        fields = {"data": pixels, "fine_labels": labels, "coarse_labels": [0] * len(labels)}
        (folder / name).write_bytes(pickle.dumps(fields, 2))
    return folder


def write_binary100(root: Path) -> Path:
    """A row is the coarse class, the fine class and the pixels."""
    folder = root / BINARY100
    folder.mkdir(parents=True)
    for name, (pixels, labels) in HUNDRED.items():
        content = b"".join(
            bytes((9, y)) + x.tobytes() for x, y in zip(pixels, labels, strict=True)
        )
        (folder / f"{name}.bin").write_bytes(content)
    return folder


@pytest.mark.parametrize("write", [write_python10, write_binary10])
def test_cifar10_in_both_versions(tmp_path: Path, write: Any) -> None:
    write(tmp_path)
    splits = load(CIFAR10Config(root=str(tmp_path)))
    pixels = np.concatenate([BATCHES[name][0] for name in NAMES[:-1]])
    np.testing.assert_array_equal(splits.train.images, pixels.reshape(-1, 3, 32, 32))
    assert splits.train.labels.tolist() == sum((BATCHES[name][1] for name in NAMES[:-1]), [])
    held_out = {
        int(label): image
        for split in (splits.val, splits.test)
        for image, label in zip(split.images, split.labels, strict=True)
    }
    for image, label in zip(*BATCHES["test_batch"], strict=True):
        np.testing.assert_array_equal(held_out[label].reshape(-1), image)
    assert [len(split.images) for split in splits[:3]] == [10, 2, 2]
    assert "holds 10 images, the official one 50,000" in splits.notes[0]


@pytest.mark.parametrize("write", [write_python100, write_binary100])
def test_cifar100_in_both_versions(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "cifar100")
    config = CIFAR100Config(root=str(tmp_path))
    splits, source = load(config), config.source()
    pixels, labels = HUNDRED["train"]
    np.testing.assert_array_equal(splits.train.images, pixels.reshape(-1, 3, 32, 32))
    assert splits.train.labels.tolist() == labels
    assert len(source.label_names) == 100 and source.label_names[-1] == "worm"
    assert source.stamp == config.stamp()


def test_both_versions_hold_the_same_images(tmp_path: Path) -> None:
    write_python10(tmp_path / "a")
    write_binary10(tmp_path / "b")
    one, other = (load(CIFAR10Config(root=str(tmp_path / name))) for name in "ab")
    assert one.sha256 == other.sha256


def test_the_files_may_lie_elsewhere_and_be_resized(tmp_path: Path) -> None:
    write_python10(tmp_path / "downloads" / "archive")
    splits = load(CIFAR10Config(root=str(tmp_path), size=16))
    assert splits.train.images.shape == (10, 3, 16, 16)
    assert "the files are read from" in splits.notes[0]


def corrupt(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_3", b"", "data_batch_3: expected the pickle of a dict with data and labels"),
        ("data_batch_3", pickle.dumps([1, 2]), "data and labels, got list"),
        ("data_batch_3", pickle.dumps({"data": 1}), "data and labels, got data"),
        (
            "data_batch_3",
            pickle.dumps({"data": np.zeros((2, 3072), np.int32), "labels": [0, 1]}),
            r"data must be uint8 \[N, 3072\], got int32 \(2, 3072\)",
        ),
        (
            "data_batch_3",
            pickle.dumps({"data": np.zeros((2, 784), np.uint8), "labels": [0, 1]}),
            r"data must be uint8 \[N, 3072\], got uint8 \(2, 784\)",
        ),
        (
            "test_batch",
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}),
            "2 images, but 1 labels",
        ),
        (
            "test_batch",
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}),
            r"test_batch: the classes are 0..9, got 10",
        ),
        (
            "test_batch",
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": ["a", "b"]}),
            "labels must be a list of whole numbers",
        ),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    corrupt(write_python10(tmp_path), name, content)
    with pytest.raises(ValueError, match=message) as caught:
        load(CIFAR10Config(root=str(tmp_path)))
    assert str(tmp_path / PYTHON10 / name) in str(caught.value)


def test_an_incomplete_binary_file_is_named(tmp_path: Path) -> None:
    path = write_binary10(tmp_path) / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"data_batch_2.bin: .* 3,073 bytes for each image, but"):
        load(CIFAR10Config(root=str(tmp_path)))


def test_missing_and_extra_files_are_named(tmp_path: Path) -> None:
    folder = write_python10(tmp_path)
    (folder / "data_batch_6").write_bytes(b"")
    with pytest.raises(ValueError, match="holds data_batch_6, which are none of the dataset's"):
        load(CIFAR10Config(root=str(tmp_path)))
    (folder / "data_batch_6").unlink()
    (folder / "data_batch_4").unlink()
    with pytest.raises(ValueError, match=r"lacks data_batch_4; expected .*binary version is read"):
        load(CIFAR10Config(root=str(tmp_path)))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "cifar-10-python.tar.gz").write_bytes(b"")
    with pytest.raises(ValueError, match="comes from an archive"):
        load(CIFAR10Config(root=str(tmp_path / "empty")))


def test_a_file_of_the_official_length_must_be_the_official_one(tmp_path: Path) -> None:
    """The official content is not here; so only that another content is refused can be shown."""
    folder = write_binary10(tmp_path)
    (folder / "test_batch.bin").write_bytes(bytes(10_000 * 3073))
    with pytest.raises(
        ValueError, match="expected md5 803d5f7f4d78ea53de84dbe85f74fb6d"
    ) as caught:
        load(CIFAR10Config(root=str(tmp_path)))
    assert "the dataset arrays" in str(caught.value)


def test_the_configs() -> None:
    for config in (CIFAR10Config(root="data"), CIFAR100Config(root="data")):
        assert (config.shape, config.binarize) == ((3, 32, 32), False)
        assert from_json(to_json(config)) == config
    assert CIFAR10Config(root="data").name == "cifar10"
    assert CIFAR100Config(root="data", size=64).shape == (3, 64, 64)
    with pytest.raises(ValueError, match="size must be 28 or a multiple of 8 up to 1024, got"):
        CIFAR10Config(root="data", size=33)
