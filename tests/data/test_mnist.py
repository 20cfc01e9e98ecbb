import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from genae_core.config import from_json, to_json
from genae_core.data.base import load
from genae_core.data.mnist import MNISTConfig

Bytes = NDArray[np.uint8]
TRAIN, TEST = 6, 5
NAMES = [f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]


def idx(array: Bytes) -> bytes:
    """The idx format from its definition: two zeros, type 8, dimensions, sizes, data."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def arrays() -> list[Bytes]:
    rng = np.random.default_rng(7)
    result = []
    for count in (TRAIN, TEST):
        result.append(rng.integers(0, 256, (count, 28, 28), np.uint8))
        result.append(rng.permutation(10)[:count].astype(np.uint8))
    return result


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, array in zip(NAMES, arrays(), strict=True):
        (folder / f"{name}-ubyte").write_bytes(idx(array))
    return folder


def test_pixels_and_labels_come_back(raw: Path, tmp_path: Path) -> None:
    splits = load(MNISTConfig(root=str(tmp_path)))
    train_images, train_labels, test_images, test_labels = arrays()
    np.testing.assert_array_equal(splits.train.images, train_images[:, None])
    np.testing.assert_array_equal(splits.train.labels, train_labels)
    assert splits.train.labels.dtype == np.int64 and splits.train.images.flags.writeable
    assert (len(splits.val.images), len(splits.test.images)) == (3, 2)
    held = {
        int(label): image
        for split in (splits.val, splits.test)
        for image, label in zip(split.images, split.labels, strict=True)
    }
    assert held.keys() == set(test_labels.tolist())  # all distinct: disjoint and covering
    for image, label in zip(test_images, test_labels, strict=True):
        np.testing.assert_array_equal(held[int(label)][0], image)


def test_another_set_is_noted(raw: Path, tmp_path: Path) -> None:
    notes = load(MNISTConfig(root=str(tmp_path))).notes
    assert len(notes) == 2
    assert "train-images-idx3-ubyte holds 6 images" in notes[0] and "60,000" in notes[0]
    assert "t10k-images-idx3-ubyte holds 5 images" in notes[1] and "10,000" in notes[1]


def test_common_data_root(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    raw.parent.rename(tmp_path / "mnist" / "MNIST")
    assert len(load(MNISTConfig(root=str(tmp_path))).train.images) == TRAIN


@pytest.mark.parametrize("packed", [NAMES, NAMES[1:3]])
def test_gz_files_stand_in_for_raw_ones(raw: Path, tmp_path: Path, packed: list[str]) -> None:
    for name in packed:
        path = raw / f"{name}-ubyte"
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    splits = load(MNISTConfig(root=str(tmp_path)))
    np.testing.assert_array_equal(splits.train.images, arrays()[0][:, None])


def test_a_raw_file_goes_before_its_gz(raw: Path, tmp_path: Path) -> None:
    (raw / "train-images-idx3-ubyte.gz").write_bytes(b"not read")
    assert len(load(MNISTConfig(root=str(tmp_path))).train.images) == TRAIN


def test_a_cut_gz_is_refused(raw: Path, tmp_path: Path) -> None:
    path = raw / "t10k-images-idx3-ubyte"
    whole = gzip.compress(path.read_bytes())
    path.unlink()
    for content in (whole[:-9], whole[: len(whole) // 2], b"not gzip at all"):
        (raw / f"{path.name}.gz").write_bytes(content)
        with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.gz is not a whole gzip"):
            load(MNISTConfig(root=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3", idx(arrays()[0])[:-1], "4,720 bytes, but it has 4,719"),
        ("train-images-idx3", idx(arrays()[0]) + b"\0", "4,720 bytes, but it has 4,721"),
        ("train-images-idx3", idx(arrays()[1]), "magic number 2051, found 2049"),
        ("train-images-idx3", b"\0\0\x08", "magic number 2051, found 8"),
        ("train-images-idx3", b"", "magic number 2051, found 0"),
        ("train-images-idx3", idx(arrays()[0])[:15], "within its header, after 15 bytes"),
        ("train-images-idx3", idx(arrays()[0][:, :27]), "28 x 28, found 27 x 28"),
        ("train-images-idx3", idx(arrays()[0][:0]), "0 images but 6 labels"),
        ("t10k-labels-idx1", idx(arrays()[3][:4]), "5 images but 4 labels"),
        ("t10k-labels-idx1", idx(np.full(5, 10, np.uint8)), "must be 0..9, got 10"),
        ("t10k-labels-idx1", b"<html>not found</html>", "magic number 2049"),
    ],
    ids=lambda value: "bytes" if isinstance(value, bytes) else None,
)
def test_broken_files_are_refused_by_path(
    raw: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (raw / f"{name}-ubyte").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load(MNISTConfig(root=str(tmp_path)))
    assert str(raw) in str(caught.value)


def test_too_few_images_for_three_splits(raw: Path, tmp_path: Path) -> None:
    (raw / "t10k-images-idx3-ubyte").write_bytes(idx(arrays()[2][:1]))
    (raw / "t10k-labels-idx1-ubyte").write_bytes(idx(arrays()[3][:1]))
    with pytest.raises(ValueError, match="2 test images are needed, got 6 and 1"):
        load(MNISTConfig(root=str(tmp_path)))


@pytest.mark.parametrize("packed", [False, True])
def test_a_complete_file_with_another_checksum(raw: Path, tmp_path: Path, packed: bool) -> None:
    (raw / "t10k-images-idx3-ubyte").write_bytes(idx(arrays()[2]))
    path = raw / "t10k-labels-idx1-ubyte"
    content = idx(np.zeros(10_000, np.uint8))
    path.write_bytes(content)
    if packed:
        path.unlink()
        path = path.with_name(f"{path.name}.gz")
        path.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match="not the official content: expected sha256") as caught:
        load(MNISTConfig(root=str(tmp_path)))
    assert str(path) in str(caught.value)


def test_missing_files_say_what_is_expected_where(raw: Path, tmp_path: Path) -> None:
    (raw / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match=r"raw lacks t10k-labels-idx1-ubyte;.*--download"):
        load(MNISTConfig(root=str(tmp_path)))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="lacks train-images-idx3-ubyte, train-labels") as caught:
        load(MNISTConfig(root=str(empty)))
    assert str(empty / "mnist" / "MNIST" / "raw") in str(caught.value)
    with pytest.raises(ValueError, match="the data root '.*nowhere' is no folder"):
        load(MNISTConfig(root=str(tmp_path / "nowhere")))


def test_the_config() -> None:
    config = MNISTConfig(root="data")
    assert (config.name, config.shape, config.binarize) == ("mnist", (1, 28, 28), True)
    assert from_json(to_json(config)) == config
    with pytest.raises(ValueError, match="root must name a folder, got root=''"):
        MNISTConfig(root="")
    with pytest.raises(ValueError, match="binarize must be True or False, got binarize=2"):
        MNISTConfig(root="data", binarize=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="download must be True or False, got download=1"):
        MNISTConfig(root="data", download=1)  # type: ignore[arg-type]


def test_the_real_set(real_data: Callable[[str], str]) -> None:
    splits = load(MNISTConfig(root=real_data("mnist")))
    assert [len(split.images) for split in splits[:3]] == [60_000, 5_000, 5_000]
    assert splits.notes == ()
    for split in splits[:3]:
        assert set(split.labels.tolist()) == set(range(10))
        assert split.images.max() == 255 and split.images.min() == 0
