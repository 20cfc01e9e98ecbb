"""The ways in which the files of MNIST, SVHN and CelebA are handed around."""

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from genae_core.data.base import load
from genae_core.data.celeba import CelebAConfig
from genae_core.data.mnist import MNISTConfig
from genae_core.data.svhn import SVHNConfig

Bytes = NDArray[np.uint8]
Files = dict[str, bytes]
RNG = np.random.default_rng(3)
DIGITS = RNG.integers(0, 256, (9, 28, 28), np.uint8)
LABELS = np.arange(9, dtype=np.uint8)
IMAGES, ATTRIBUTES, PARTITION = (
    "img_align_celeba",
    "list_attr_celeba.txt",
    "list_eval_partition.txt",
)


def write(root: Path, files: Files) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def idx(array: Bytes) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist(name: Callable[[str], str], pack: Callable[[bytes], bytes] = bytes) -> Files:
    """The four idx files, with five training and four test images."""
    arrays = {
        "train-images-idx3-ubyte": DIGITS[:5],
        "train-labels-idx1-ubyte": LABELS[:5],
        "t10k-images-idx3-ubyte": DIGITS[5:],
        "t10k-labels-idx1-ubyte": LABELS[5:],
    }
    return {name(file): pack(idx(array)) for file, array in arrays.items()}


def npz() -> bytes:
    buffer = io.BytesIO()
    arrays = {"x_train": DIGITS[:5], "y_train": LABELS[:5]}
    np.savez(buffer, **arrays, x_test=DIGITS[5:], y_test=LABELS[5:])
    return buffer.getvalue()


def tables(with_names: bool) -> Files:
    names = ",".join(["label", *(f"{r}x{c}" for r in range(28) for c in range(28))])
    files = {}
    for part, rows in (("train", slice(5)), ("test", slice(5, 9))):
        lines = [names] if with_names else []
        for label, image in zip(LABELS[rows], DIGITS[rows], strict=True):
            lines.append(",".join(map(str, [label, *image.reshape(-1)])))
        files[f"archive/mnist_{part}.csv"] = ("\n".join(lines) + "\n").encode()
    return files


MNIST = {
    "flat": mnist(str),
    "torchvision": mnist(lambda name: f"MNIST/raw/{name}"),
    "lower case": mnist(lambda name: f"mnist/raw/{name}"),
    "dotted": mnist(lambda name: f"MNIST/raw/{name.replace('-idx', '.idx')}"),
    "dotted and packed": mnist(lambda name: f"{name.replace('-idx', '.idx')}.gz", gzip.compress),
    "a folder of each name": mnist(lambda name: f"MNIST/raw/{name}/{name}"),
    "both": mnist(lambda n: f"archive/{n}/{n}")
    | mnist(lambda n: f"archive/{n.replace('-i', '.i')}"),
    "packed": mnist(lambda name: f"MNIST/raw/{name}.gz", gzip.compress),
    "unpacked under the packed name": mnist(lambda name: f"MNIST/raw/{name}.gz"),
    "packed under the unpacked name": mnist(lambda name: f"MNIST/raw/{name}", gzip.compress),
    "beside Fashion-MNIST": mnist(lambda name: f"a/b/{name}")
    | mnist(lambda name: f"FashionMNIST/raw/{name}"),
    "Keras": {"mnist.npz": npz()},
    "Keras in a folder": {"datasets/mnist.npz": npz()},
    "Kaggle's tables": tables(with_names=True),
    "tables without names": tables(with_names=False),
}


@pytest.mark.parametrize("layout", MNIST)
def test_mnist(tmp_path: Path, layout: str) -> None:
    write(tmp_path, MNIST[layout])
    config = MNISTConfig(root=str(tmp_path))
    splits = load(config)
    np.testing.assert_array_equal(splits.train.images[:, 0], DIGITS[:5])
    np.testing.assert_array_equal(splits.train.labels, LABELS[:5])
    held_out = dict(zip(splits.val.labels.tolist(), splits.val.images, strict=True))
    held_out |= dict(zip(splits.test.labels.tolist(), splits.test.images, strict=True))
    assert sorted(held_out) == [5, 6, 7, 8]
    for label, image in held_out.items():
        np.testing.assert_array_equal(image[0], DIGITS[label])
    assert config.stamp() == config.stamp() == config.source().stamp
    is_usual = "MNIST/raw" in str([*MNIST[layout]]) and "a folder" not in layout
    is_usual &= "dotted" not in layout and "beside" not in layout
    assert any("the files are read from" in note for note in splits.notes) != is_usual


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (mnist(lambda n: f"FashionMNIST/raw/{n}"), "FashionMNIST/raw holds .* another dataset"),
        (mnist(lambda n: f"a/{n}") | mnist(lambda n: f"b/{n}"), "several folders .*a, .*b; give"),
        (dict([*mnist(str).items()][:3]), "holds only t10k-images-idx3-ubyte, train-images"),
        ({"README": b"", "digits.parquet": b""}, "Nearly there: .* holds README, digits.parquet"),
        ({"mnist.zip": b"PK"}, "mnist.zip may have to be unpacked first"),
        (mnist(lambda n: f"emnist-letters-{n}"), "EMNIST's letters, which is another dataset"),
        ({"train.csv": b"", "test.csv": b""}, "Digit Recognizer, has no test images with labels"),
        ({"mnist_png/training/0/1.png": b""}, "which the dataset image_folder reads"),
        (mnist(str, lambda b: b.replace(b"\n", b"\r\n") + b"\r\n" * 9), "copied as text"),
        (mnist(str, lambda _: b""), "found 0 .the file is empty"),
        ({"mnist.npz": b"PK\3\4"}, "mnist.npz: expected the arrays x_train"),
        (
            {"mnist_train.csv": b"1,2\n", "mnist_test.csv": b"1,2\n"},
            "a label and 784 pixels of 0..255",
        ),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_mnist_that_is_nearly_there(tmp_path: Path, files: Files, message: str) -> None:
    write(tmp_path, files)
    with pytest.raises(ValueError, match=message):
        load(MNISTConfig(root=str(tmp_path)))


def mat(seed: int, count: int) -> bytes:
    buffer = io.BytesIO()
    images = np.random.default_rng(seed).integers(0, 256, (32, 32, 3, count), np.uint8)
    savemat(buffer, {"X": images, "y": np.full((count, 1), seed)})
    return buffer.getvalue()


def svhn(place: str, train: str = "train_32x32.mat") -> Files:
    return {f"{place}{train}": mat(1, 4), f"{place}test_32x32.mat": mat(2, 3)}


@pytest.mark.parametrize(
    "files",
    [svhn(""), svhn("svhn/"), svhn("SVHN/"), svhn("archive/a/"), svhn("", "Train_32x32.mat")],
)
def test_svhn(tmp_path: Path, files: Files) -> None:
    write(tmp_path, files)
    splits = load(SVHNConfig(root=str(tmp_path), size=32))
    assert splits.train.labels.tolist() == [1] * 4
    assert [len(split.images) for split in splits[:3]] == [4, 2, 1]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train/1.png": b"", "train/digitStruct.mat": b""}, "format 1 of SVHN"),
        ({"train.tar.gz": b""}, "train.tar.gz may have to be unpacked"),
        (svhn("a/") | svhn("b/"), "several folders"),
        ({"x/train_32x32.mat": b""}, "x holds only train_32x32.mat"),
    ],
)
def test_svhn_that_is_nearly_there(tmp_path: Path, files: Files, message: str) -> None:
    write(tmp_path, files)
    with pytest.raises(ValueError, match=message):
        load(SVHNConfig(root=str(tmp_path)))


COUNT = 12


def level(number: int) -> int:
    return 20 * number


def faces(folder: str = IMAGES, ending: str = "jpg", size: tuple[int, int] = (89, 109)) -> Files:
    """Images 1, ..., 12 of one grey each."""
    files = {}
    for number in range(1, COUNT + 1):
        image = np.full((size[1], size[0], 3), level(number), np.uint8)
        if ending == "png":
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            content = buffer.getvalue()
        else:
            content = simplejpeg.encode_jpeg(image, quality=100)
        files[f"{folder}/{number:06}.{ending}"] = content
    return files


def value(number: int, column: int) -> bool:
    return bool(number >> column % 4 & 1)


def attributes(false: str = "-1", ending: str = "jpg", is_table: bool = False) -> str:
    names = [f"A{column}" for column in range(40)]
    comma = "," if is_table else " "
    lines = [comma.join(["image_id", *names])] if is_table else [str(COUNT), " ".join(names)]
    for number in range(1, COUNT + 1):
        values = ["1" if value(number, column) else false for column in range(40)]
        lines.append(comma.join([f"{number:06}.{ending}", *values]))
    return "\n".join(lines) + "\n"


def partition(is_table: bool = False) -> str:
    comma = "," if is_table else " "
    lines = ["image_id,partition"] if is_table else []
    lines += [f"{number:06}.jpg{comma}{number % 3}" for number in range(1, COUNT + 1)]
    return "\r\n".join(lines) + "\r\n"


def celeba(
    images: Files | None = None,
    lists: dict[str, str] | None = None,
    encoding: str = "utf-8",
) -> Files:
    chosen = {ATTRIBUTES: attributes(), PARTITION: partition()} | (lists or {})
    texts = {name: text.encode(encoding) for name, text in chosen.items() if text}
    return (images or faces()) | texts


ATTRIBUTE_TABLE, PARTITION_TABLE = attributes(is_table=True), partition(is_table=True)
NO_LISTS = {ATTRIBUTES: "", PARTITION: ""}
CELEBA = {
    "torchvision": celeba(),
    "byte-order mark": celeba(encoding="utf-8-sig"),
    "UTF-16": celeba(encoding="utf-16"),
    "Kaggle": celeba(
        faces(f"{IMAGES}/{IMAGES}"),
        NO_LISTS
        | {
            "list_attr_celeba.csv": ATTRIBUTE_TABLE,
            "list_eval_partition.csv": PARTITION_TABLE,
        },
    ),
    "Kaggle in a folder": celeba(
        faces(f"archive/{IMAGES}/{IMAGES}"),
        NO_LISTS
        | {
            "archive/list_attr_celeba.csv": ATTRIBUTE_TABLE,
            "archive/list_eval_partition.csv": PARTITION_TABLE,
        },
    ),
    "tables under the names of lists": celeba(
        None, {ATTRIBUTES: ATTRIBUTE_TABLE, PARTITION: PARTITION_TABLE}
    ),
    "a folder in the folder": celeba(faces(f"{IMAGES}/{IMAGES}")),
    "Google Drive": celeba(
        faces(f"Img/{IMAGES}"),
        NO_LISTS | {f"Anno/{ATTRIBUTES}": attributes(), f"Eval/{PARTITION}": partition()},
    ),
    "the partition elsewhere": celeba(None, {PARTITION: "", f"Eval/{PARTITION}": partition()}),
    "the partition's table": celeba(
        None, {PARTITION: "", "list_eval_partition.csv": PARTITION_TABLE}
    ),
    "values of 0 and 1": celeba(None, {ATTRIBUTES: attributes(false="0")}),
    "upper case": celeba(faces(ending="JPG")),
    "PNG": celeba(faces(ending="png")),
    "PNG in the list": celeba(faces(ending="png"), {ATTRIBUTES: attributes(ending="png")}),
}


@pytest.mark.parametrize("layout", CELEBA)
def test_celeba(tmp_path: Path, layout: str) -> None:
    write(tmp_path, CELEBA[layout])
    config = CelebAConfig(root=str(tmp_path), size=32)
    splits = load(config)
    for remainder, split in enumerate(splits[:3]):
        numbers = [round(float(image.mean()) / 20) for image in np.asarray(split.images)]
        assert sorted(numbers) == [n for n in range(1, COUNT + 1) if n % 3 == remainder]
        for number, row in zip(numbers, split.labels, strict=True):
            assert row.tolist() == [value(number, column) for column in range(40)]
    assert config.stamp() == config.source().stamp


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (celeba({f"{IMAGES}.zip": b"PK"}), f"{IMAGES}.zip may have to be unpacked first"),
        (celeba({"img_celeba/000001.jpg": b""}), "the images in the wild; the aligned ones"),
        (celeba({"CelebA-HQ-img/0.jpg": b""}), "CelebA-HQ is another dataset"),
        (faces(), f"lacks {ATTRIBUTES}; expected .* the dataset image_folder reads the images"),
        (celeba(faces(f"a/{IMAGES}") | faces(f"b/{IMAGES}")), "several folders .*a/.*b/"),
        (
            celeba(None, {ATTRIBUTES: attributes().replace(" -1", " 0", 1)}),
            "line 3: expected an image name and 40 values of -1 or 1 .or 0 or 1 in all lines",
        ),
        (celeba(None, {ATTRIBUTES: "image_id,Young\n"}), "line 1: expected 40 attribute names"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_celeba_that_is_nearly_there(tmp_path: Path, files: Files, message: str) -> None:
    write(tmp_path, files)
    with pytest.raises(ValueError, match=message):
        load(CelebAConfig(root=str(tmp_path)))


def test_a_folder_too_deep_is_named(tmp_path: Path) -> None:
    write(tmp_path, celeba())
    with pytest.raises(ValueError, match=f"give the folder that holds {IMAGES} as the data root"):
        CelebAConfig(root=str(tmp_path / IMAGES)).source()
