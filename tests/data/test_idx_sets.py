"""Fashion-MNIST, KMNIST and EMNIST: their files, and how they are told apart by their digests."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.idx import idx
from numpy.typing import NDArray

from genae_core.config import from_json, to_json
from genae_core.data import idx_files
from genae_core.data.base import load
from genae_core.data.emnist import EMNISTConfig
from genae_core.data.fashion_mnist import FashionMNISTConfig
from genae_core.data.idx_sets import ALL, EMNIST, FASHION_MNIST, KMNIST, MNIST, IdxSet
from genae_core.data.kmnist import KMNISTConfig
from genae_core.data.mnist import MNISTConfig, recognise_mnist

RNG = np.random.default_rng(5)
TRAIN, TEST = 6, 5
TEST_LABELS = "t10k-labels-idx1-ubyte"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist


def arrays(first_label: int = 0) -> dict[str, NDArray[np.uint8]]:
    """The four arrays, by MNIST's names of their files."""
    values = {}
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        values[f"{part}-images-idx3-ubyte"] = RNG.integers(0, 256, (count, 28, 28), np.uint8)
        labels = RNG.permutation(10)[:count] + first_label
        values[f"{part}-labels-idx1-ubyte"] = labels.astype(np.uint8)
    return values


def write(
    folder: Path,
    values: dict[str, NDArray[np.uint8]],
    name: Callable[[str], str] = str,
    pack: Callable[[bytes], bytes] = bytes,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, array in values.items():
        (folder / name(file)).write_bytes(pack(idx(array)))


def know(monkeypatch: pytest.MonkeyPatch, idx_set: IdxSet, content: bytes, packed: bool) -> None:
    """Let these test labels be the official ones of a set."""
    digest = {TEST_LABELS: hashlib.sha256(content).hexdigest()}
    official = {"packed": digest} if packed else {"unpacked": {**idx_set.unpacked, **digest}}
    known = idx_set._replace(**official)  # type: ignore[arg-type]
    others = tuple(one for one in ALL if one.name != idx_set.name)
    monkeypatch.setattr(idx_files, "ALL", (known, *others))


CONFIGS: list[tuple[Any, str]] = [
    (FashionMNISTConfig, "FashionMNIST/raw"),
    (KMNISTConfig, "KMNIST/raw"),
]


@pytest.mark.parametrize(("kind", "folder"), CONFIGS)
@pytest.mark.parametrize("packed", [False, True])
def test_the_usual_place(tmp_path: Path, kind: Any, folder: str, packed: bool) -> None:
    values = arrays()
    ending, pack = (".gz", gzip.compress) if packed else ("", bytes)
    write(tmp_path / folder, values, lambda name: f"{name}{ending}", pack)
    config = kind(root=str(tmp_path))
    splits, source = load(config), config.source()
    np.testing.assert_array_equal(splits.train.images[:, 0], values["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(splits.train.labels, values["train-labels-idx1-ubyte"])
    held_out = sorted([*splits.val.labels.tolist(), *splits.test.labels.tolist()])
    assert held_out == sorted(values[TEST_LABELS].tolist())
    assert len(source.label_names) == 10 and source.stamp == config.stamp()
    assert "holds 6 images, the official one 60,000" in splits.notes[0]
    assert not any("the files are read from" in note for note in splits.notes)


@pytest.mark.parametrize("subset", EMNIST)
def test_emnist_is_turned_upright_and_counted_from_0(tmp_path: Path, subset: Any) -> None:
    first = 1 if subset == "letters" else 0
    values = arrays(first)
    write(
        tmp_path / "EMNIST" / "raw",
        values,
        lambda name: f"emnist-{subset}-{name.replace('t10k', 'test')}",
    )
    config = EMNISTConfig(root=str(tmp_path), subset=subset)
    splits, source = load(config), config.source()
    for image, columns in zip(
        splits.train.images[:, 0], values["train-images-idx3-ubyte"], strict=True
    ):
        np.testing.assert_array_equal(image, columns.T)
    labels = values["train-labels-idx1-ubyte"].astype(int) - first
    assert splits.train.labels.tolist() == labels.tolist()
    assert source.label_names[10 if subset.startswith("b") else 0] == (
        "A" if subset.startswith("b") or subset == "letters" else "0"
    )
    assert config.name == f"emnist_{subset}"


def test_the_classes_of_emnist() -> None:
    """The numbers of classes are those of Cohen et al. 2017, table II."""
    counts = {subset: len(idx_set.classes) for subset, idx_set in EMNIST.items()}
    assert counts == {
        "balanced": 47,
        "byclass": 62,
        "bymerge": 47,
        "digits": 10,
        "letters": 26,
        "mnist": 10,
    }


def test_files_in_mnists_place_are_named_for_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = arrays()
    write(tmp_path / "MNIST" / "raw", values)
    assert recognise_mnist(str(tmp_path)) == "mnist"  # The digests are unknown.
    know(monkeypatch, FASHION_MNIST, idx(values[TEST_LABELS]), packed=False)
    assert recognise_mnist(str(tmp_path)) == "fashion_mnist"
    splits = load(FashionMNISTConfig(root=str(tmp_path)))
    np.testing.assert_array_equal(splits.train.images[:, 0], values["train-images-idx3-ubyte"])
    assert f"the files are read from {tmp_path / 'MNIST' / 'raw'}" in splits.notes[0]
    with pytest.raises(ValueError, match="holds Fashion-MNIST, by the digests of its files"):
        load(MNISTConfig(root=str(tmp_path)))
    with pytest.raises(ValueError, match="kmnist: .* holds Fashion-MNIST"):
        load(KMNISTConfig(root=str(tmp_path)))


@pytest.mark.parametrize("idx_set", [KMNIST, EMNIST["letters"]])
def test_packed_files_are_recognised_as_their_makers_packed_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idx_set: IdxSet
) -> None:
    values = arrays(idx_set.first_label)
    write(tmp_path / "MNIST" / "raw", values, lambda name: f"{name}.gz", gzip.compress)
    content = (tmp_path / "MNIST" / "raw" / f"{TEST_LABELS}.gz").read_bytes()
    know(monkeypatch, idx_set, content, packed=True)
    assert recognise_mnist(str(tmp_path)) == idx_set.name


def test_the_own_place_goes_before_mnists(tmp_path: Path) -> None:
    own, other = arrays(), arrays()
    write(tmp_path / "FashionMNIST" / "raw", own)
    write(tmp_path / "MNIST" / "raw", other)
    splits = load(FashionMNISTConfig(root=str(tmp_path)))
    np.testing.assert_array_equal(splits.train.images[:, 0], own["train-images-idx3-ubyte"])


def test_mnist_is_not_taken_for_another_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = arrays()
    write(tmp_path / "MNIST" / "raw", values)
    know(monkeypatch, MNIST, idx(values[TEST_LABELS]), packed=False)
    for config in (FashionMNISTConfig, KMNISTConfig, EMNISTConfig):
        with pytest.raises(ValueError, match="holds MNIST, by the digests .* dataset mnist"):
            load(config(root=str(tmp_path)))


def test_files_without_a_known_digest_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of KMNIST, genae knows only the digests of the packed files."""
    monkeypatch.setattr("genae_core.data.kmnist.KMNIST", KMNIST._replace(counts=(TRAIN, TEST)))
    write(tmp_path / "KMNIST" / "raw", arrays())
    (note,) = load(KMNISTConfig(root=str(tmp_path))).notes
    assert "cannot be compared with the official files" in note and note.count("ubyte") == 4


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("t10k-labels-idx1-ubyte", np.full(5, 10, np.uint8), r"Fashion-MNIST are 0..9, got 10"),
        ("t10k-labels-idx1-ubyte", np.zeros(4, np.uint8), "5 images, but 4 labels"),
        ("train-images-idx3-ubyte", np.zeros((6, 27, 28), np.uint8), "28 x 28, found 27 x 28"),
        ("t10k-images-idx3-ubyte", np.zeros(5, np.uint8), "magic number 2051, found 2049"),
        ("train-labels-idx1-ubyte", np.zeros(60_000, np.uint8), "6 images, but 60,000 labels"),
    ],
)
def test_a_wrong_file_is_named(
    tmp_path: Path, name: str, array: NDArray[np.uint8], message: str
) -> None:
    write(tmp_path / "FashionMNIST" / "raw", arrays() | {name: array})
    with pytest.raises(ValueError, match=message) as caught:
        load(FashionMNISTConfig(root=str(tmp_path)))
    assert str(tmp_path / "FashionMNIST" / "raw" / name) in str(caught.value)


def test_an_unknown_digest_of_a_complete_file_is_refused(tmp_path: Path) -> None:
    values = arrays()
    values["t10k-images-idx3-ubyte"] = np.zeros((10_000, 28, 28), np.uint8)
    values[TEST_LABELS] = np.zeros(10_000, np.uint8)
    write(tmp_path / "FashionMNIST" / "raw", values)
    with pytest.raises(ValueError, match="expected sha256 5b4141f0.*dataset arrays"):
        load(FashionMNISTConfig(root=str(tmp_path)))


def test_a_missing_file_and_several_folders_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    write(folder, arrays())
    (folder / TEST_LABELS).unlink()
    with pytest.raises(ValueError, match=rf"raw lacks {TEST_LABELS}; expected .*--download"):
        load(FashionMNISTConfig(root=str(tmp_path)))
    write(tmp_path / "a", arrays())
    write(tmp_path / "b", arrays())
    with pytest.raises(ValueError, match="several folders below .* hold its files: .*a, .*b"):
        load(KMNISTConfig(root=str(tmp_path)))


def test_the_configs() -> None:
    for config in (
        FashionMNISTConfig(root="data"),
        KMNISTConfig(root="data"),
        EMNISTConfig(root="data", subset="letters"),
    ):
        assert config.shape == (1, 28, 28)
        assert config.binarize == (config.name != "fashion_mnist")
        assert from_json(to_json(config)) == config
    with pytest.raises(ValueError, match="subset must be one of balanced, .*, got subset='all'"):
        EMNISTConfig(root="data", subset="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="root must name a folder"):
        KMNISTConfig(root="")


def test_the_real_fashion_mnist(real_data: Callable[[str], str]) -> None:
    root = DEBIAN if DEBIAN.is_dir() else Path(real_data("fashion_mnist")) / "fashion_mnist"
    splits = load(FashionMNISTConfig(root=str(root)))
    assert [len(split.images) for split in splits[:3]] == [60_000, 5_000, 5_000]
    assert np.bincount(splits.train.labels).tolist() == [6_000] * 10
    assert not any("official" in note for note in splits.notes)
