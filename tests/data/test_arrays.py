"""A user's own arrays in .npz and .npy files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genae_core.config import from_json, to_json
from genae_core.data.arrays import ArraysConfig, arrays_config
from genae_core.data.base import Splits, load

RNG = np.random.default_rng(2)
IMAGES = RNG.integers(2, 256, (24, 8, 8), np.uint8)
COLOUR = RNG.integers(0, 256, (24, 8, 8, 3), np.uint8)


def save(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "own.npz", **arrays)
    return str(folder / "own.npz")


def rows_of(splits: Splits) -> dict[bytes, int]:
    """The label of each image, over all splits."""
    return {
        image.tobytes(): int(label)
        for split in splits[:3]
        for image, label in zip(split.images, split.labels, strict=True)
    }


def test_images_alone_are_cut_by_the_seed(tmp_path: Path) -> None:
    config = arrays_config(save(tmp_path, images=IMAGES))
    splits = load(config)
    assert (config.shape, config.name, config.binarize) == ((1, 8, 8), "arrays", False)
    assert [len(split.images) for split in splits[:3]] == [18, 3, 3]
    assert rows_of(splits) == {image.tobytes(): 0 for image in IMAGES}
    assert splits.notes == (
        "arrays: 24 images, cut by seed 0 into 18 train, 3 val and 3 test images.",
    )
    other = load(arrays_config(save(tmp_path, images=IMAGES), split_seed=1))
    assert other.sha256 != splits.sha256


def test_labels_and_splits_are_kept(tmp_path: Path) -> None:
    labels = np.array(["owl", "ant"] * 12)
    split = np.array(["train"] * 16 + ["validation"] * 4 + ["test"] * 4)
    config = arrays_config(save(tmp_path, images=COLOUR, labels=labels, split=split))
    splits, source = load(config), config.source()
    assert config.shape == (3, 8, 8) and source.label_names == ("ant", "owl")
    np.testing.assert_array_equal(splits.train.images, COLOUR[:16].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(splits.val.images, COLOUR[16:20].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(splits.test.images, COLOUR[20:].transpose(0, 3, 1, 2))
    assert splits.train.labels.tolist() == [1, 0] * 8  # in the order of the alphabet
    assert source.stamp == config.stamp()


def test_numbered_splits_of_which_one_is_missing(tmp_path: Path) -> None:
    split = np.array([0] * 16 + [2] * 8)
    splits = load(arrays_config(save(tmp_path, images=IMAGES, split=split)))
    np.testing.assert_array_equal(splits.test.images[:, 0], IMAGES[16:])
    assert [len(one.images) for one in splits[:3]] == [14, 2, 8]
    assert "no val split, so 2 of the training images are cut by seed 0" in splits.notes[1]


@pytest.mark.parametrize(
    ("train", "test", "labels"),
    [("x_train", "x_test", "y_{}"), ("train_images", "test_images", "{}_labels")],
)
def test_an_array_for_each_split(tmp_path: Path, train: str, test: str, labels: str) -> None:
    """As Keras writes them, and as MedMNIST does, whose labels are [N, 1]."""
    numbers = np.arange(24)[:, None] % 5
    root = save(
        tmp_path,
        **{train: IMAGES[:20], test: IMAGES[20:]},
        **{labels.format("train"): numbers[:20], labels.format("test"): numbers[20:]},
    )
    config = arrays_config(root)
    splits = load(config)
    np.testing.assert_array_equal(splits.test.images[:, 0], IMAGES[20:])
    assert splits.test.labels.tolist() == [0, 1, 2, 3]
    assert config.source().label_names == ("0", "1", "2", "3", "4")
    assert rows_of(splits) == {image.tobytes(): number % 5 for number, image in enumerate(IMAGES)}


def test_texts_of_splits_have_common_numbers(tmp_path: Path) -> None:
    root = save(
        tmp_path,
        x_train=IMAGES[:3],
        x_val=IMAGES[3:4],
        x_test=IMAGES[4:6],
        y_train=np.array(["b", "d", "c"]),
        y_val=np.array(["c"]),
        y_test=np.array(["a", "d"]),
    )
    splits = load(arrays_config(root))
    assert [split.labels.tolist() for split in splits[:3]] == [[1, 3, 2], [2], [0, 3]]


def test_attributes(tmp_path: Path) -> None:
    attributes = RNG.integers(0, 2, (24, 5))
    splits = load(arrays_config(save(tmp_path, images=IMAGES, labels=attributes)))
    assert splits.train.labels.dtype == np.uint8 and splits.train.labels.shape == (18, 5)


@pytest.mark.parametrize(
    "array",
    [IMAGES, IMAGES.astype(np.int64), IMAGES / np.float32(255), IMAGES / 255, IMAGES[..., None]],
    ids=["uint8", "int64", "float32", "float64", "one channel"],
)
def test_the_same_pixels_of_any_type(tmp_path: Path, array: NDArray[Any]) -> None:
    splits = load(arrays_config(save(tmp_path, images=array)))
    assert rows_of(splits).keys() == {image.tobytes() for image in IMAGES}


def test_true_is_white(tmp_path: Path) -> None:
    splits = load(arrays_config(save(tmp_path, images=IMAGES > 99)))
    assert set(np.unique(splits.train.images)) == {0, 255}


def test_npy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "faces.npy", IMAGES)
    alone = load(arrays_config(str(tmp_path / "faces.npy")))
    np.save(tmp_path / "labels.npy", np.arange(24))
    with pytest.raises(ValueError, match="the array 'faces' is not understood"):
        arrays_config(str(tmp_path))
    (tmp_path / "faces.npy").rename(tmp_path / "images.npy")
    labelled = load(arrays_config(str(tmp_path)))
    np.testing.assert_array_equal(alone.train.images, labelled.train.images)
    np.testing.assert_array_equal(
        IMAGES[labelled.train.labels.astype(int)], labelled.train.images[:, 0]
    )


def test_size_and_grey(tmp_path: Path) -> None:
    config = arrays_config(save(tmp_path, images=COLOUR), size=16, grey=True)
    images = load(config).train.images
    assert config.shape == (1, 16, 16) and images.shape == (18, 1, 16, 16)
    with pytest.raises(ValueError, match="the images are grey, but colour images are required"):
        ArraysConfig(root=save(tmp_path, images=IMAGES), shape=(3, 8, 8)).source()


def test_the_stamp_follows_the_file(tmp_path: Path) -> None:
    config = arrays_config(save(tmp_path, images=IMAGES))
    before = config.stamp()
    (tmp_path / "another").write_bytes(b"")
    assert config.stamp() == before
    save(tmp_path, images=IMAGES[:20])
    assert config.stamp() != before


PIXELS = r"pixels must be uint8 of 0..255, bool, or floats in \[0, 1\], got"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES.astype(float)}, rf"{PIXELS} float64 of 2.0..255.0: save images / 255"),
        ({"images": IMAGES / 128 - 1}, rf"{PIXELS} .*: save \(images \+ 1\) / 2"),
        ({"images": np.full((9, 8, 8), np.nan)}, f"{PIXELS} float64 of nan..nan"),
        ({"images": IMAGES.astype(int) + 1}, f"{PIXELS} int64 of 3..256"),
        ({"images": (IMAGES > 9).astype(np.uint8)}, "nearly black; if 1 means white, save images"),
        ({"images": IMAGES.astype(complex)}, f"{PIXELS} complex128"),
        ({"images": IMAGES.reshape(24, 64)}, r"got \(24, 64\): save images.reshape\(-1, 8, 8\)"),
        ({"images": COLOUR.transpose(0, 3, 1, 2)}, r"save images.transpose\(0, 2, 3, 1\)"),
        ({"images": COLOUR.repeat(2, axis=3)}, r"1 or 3 channels, got \(24, 8, 8, 6\)"),
        ({"images": IMAGES[:, :6]}, "must be square, got 6 x 8 pixels: cut or pad them"),
        ({"images": IMAGES[:0]}, r"there is no image; its shape is \(0, 8, 8\)"),
        ({"images": IMAGES[:2]}, "three splits need at least 3 images, got 2"),
        ({"images": IMAGES, "labels": np.arange(23)}, r"each of the 24 images, got \(23,\)"),
        ({"images": IMAGES, "labels": np.ones(24)}, "whole numbers or texts, got float64"),
        ({"images": IMAGES, "labels": -np.ones(24, int)}, "labels must be >= 0, got -1"),
        (
            {"images": IMAGES, "labels": 10**12 + np.arange(24)},
            "less than 100,000, got 1,000,000,",
        ),
        ({"images": IMAGES, "labels": np.full((24, 2), 2)}, "attributes of 0 or 1, got 2"),
        ({"images": IMAGES, "labels": np.array([{}] * 24)}, "a pickle, which could run programs"),
        ({"images": IMAGES, "split": np.arange(3)}, r"0, 1 or 2, for each of the 24 images, got"),
        ({"images": IMAGES, "split": np.full(24, 3)}, r"0, 1 or 2, .* got 3..3"),
        ({"images": IMAGES, "split": np.array(["left"] * 24)}, "got 'left'"),
        (
            {"images": IMAGES, "split": np.array(["test"] * 24)},
            "images of test, but none of train",
        ),
        ({"images": IMAGES, "meanings": np.arange(3)}, "the array 'meanings' is not understood"),
        ({"images": IMAGES, "x": IMAGES}, "'images' and 'x' both hold images; keep one"),
        ({"labels": np.arange(3)}, "holds labels, but no images: expected images"),
        ({"x_train": IMAGES, "images": IMAGES}, "beside images of single splits"),
        ({"x_train": IMAGES, "y_test": np.arange(3)}, "there are no images to the array 'y_test'"),
        ({"x_train": IMAGES, "x_test": IMAGES[:0]}, "x_test: there is no image"),
        ({"x_train": IMAGES, "x_test": IMAGES, "split": np.zeros(24, int)}, "array split is only"),
        (
            {"x_train": IMAGES, "x_test": IMAGES, "y_train": np.arange(24)},
            "images of test have no labels, but the others have",
        ),
        ({"x_train": IMAGES, "x_test": COLOUR}, "all splits have one shape"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_bad_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    root = save(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message):
        load(arrays_config(root))


def test_files_that_are_none(tmp_path: Path) -> None:
    root = save(tmp_path, images=IMAGES)
    whole = Path(root).read_bytes()
    for content in (b"", b"PK\3\4", whole[:-50]):
        Path(root).write_bytes(content)
        with pytest.raises(ValueError, match=r"own.npz is no whole .npz or .npy file of numbers"):
            arrays_config(root)
    (tmp_path / "more.npz").write_bytes(whole)
    with pytest.raises(ValueError, match="holds more.npz, own.npz; give one file as"):
        arrays_config(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no .npz or .npy file, but no files"):
        arrays_config(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="there is no file .*nowhere.npz"):
        arrays_config(str(tmp_path / "nowhere.npz"))
    with pytest.raises(ValueError, match=r"no folder and no .npz or .npy file; save the images"):
        arrays_config(str(tmp_path / "nowhere"))


def test_the_config() -> None:
    config = ArraysConfig(root="own.npz", shape=(3, 30, 30), split_seed=2)
    assert from_json(to_json(config)) == config
    for shape in ((2, 8, 8), (1, 8, 9), (1, 0, 0), (8, 8)):
        with pytest.raises(ValueError, match="shape=|images"):
            ArraysConfig(root="own.npz", shape=shape)  # type: ignore[arg-type]
