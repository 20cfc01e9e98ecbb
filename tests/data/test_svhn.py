import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from genae_core.config import from_json, to_json
from genae_core.data import svhn
from genae_core.data.base import load
from genae_core.data.images import CHUNK, resize
from genae_core.data.svhn import SVHNConfig
from genae_core.data.torchvision_import import torchvision_datasets

Bytes = NDArray[np.uint8]
COUNTS = {"train_32x32.mat": 10, "test_32x32.mat": 7}


def pictures(name: str) -> Bytes:
    """[N, C, H, W]"""
    return np.random.default_rng(len(name)).integers(0, 256, (COUNTS[name], 3, 32, 32), np.uint8)


def write(path: Path, **content: Any) -> None:  # noqa: ANN401
    savemat(path, content, do_compression=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, count in COUNTS.items():
        labels = np.arange(1, count + 1, dtype=np.uint8)[:, None]
        write(tmp_path / name, X=pictures(name).transpose(2, 3, 1, 0), y=labels)
    return tmp_path


def test_pixels_and_labels_come_back(root: Path) -> None:
    splits = load(SVHNConfig(root=str(root), size=32))
    np.testing.assert_array_equal(splits.train.images, pictures("train_32x32.mat"))
    assert splits.train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]  # 10 is the digit 0
    assert splits.train.labels.dtype == np.int64 and splits.train.images.flags.writeable
    assert (len(splits.val.images), len(splits.test.images)) == (4, 3)
    held = [*splits.val.labels.tolist(), *splits.test.labels.tolist()]
    assert sorted(held) == [1, 2, 3, 4, 5, 6, 7]  # disjoint and covering
    for split in (splits.val, splits.test):
        np.testing.assert_array_equal(split.images, pictures("test_32x32.mat")[split.labels - 1])


def test_the_default_is_64_pixels(root: Path) -> None:
    splits = load(SVHNConfig(root=str(root)))
    assert splits.train.images.shape == (10, 3, 64, 64)
    np.testing.assert_array_equal(splits.train.images, resize(pictures("train_32x32.mat"), 64))


def test_doubling_a_ramp_interpolates_it() -> None:
    """Column j of 64 sits at (j + 1/2) / 2 - 1/2 of 32, so 8x becomes 4j - 2, held at the ends."""
    ramp = np.broadcast_to(8 * np.arange(32, dtype=np.uint8), (CHUNK + 1, 1, 32, 32))
    wanted = np.clip(4 * np.arange(64) - 2, 0, 248)
    resized = resize(ramp, 64)
    assert resized.dtype == np.uint8
    np.testing.assert_array_equal(resized, np.broadcast_to(wanted, (CHUNK + 1, 1, 64, 64)))


def test_resized_values_are_rounded_to_the_nearest() -> None:
    """As above, a ramp of slope one becomes j / 2 - 1/4, never halfway between two levels."""
    ramp = np.broadcast_to(np.arange(32, dtype=np.uint8), (1, 1, 32, 32))
    wanted = np.rint(np.clip(np.arange(64) / 2 - 0.25, 0, 31))
    np.testing.assert_array_equal(resize(ramp, 64)[0, 0, 0], wanted)


def test_shrinking_is_antialiased() -> None:
    """Plain bilinear sampling of 128 columns at 4j + 3/2 sees columns 4j + 1 and 4j + 2 alone,
    all 0 here. The triangle of half-width 4 weighs the others (255) by
    2 (5/8 + 3/8) / 4 = 1/2, which is 127.5."""
    columns = np.where(np.isin(np.arange(128) % 4, (1, 2)), 0, 255).astype(np.uint8)
    resized = resize(np.broadcast_to(columns, (1, 1, 128, 128)), 32)
    assert set(np.unique(resized[..., 2:-2]).tolist()) <= {127, 128}


def test_common_data_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "svhn").mkdir()
    for name in COUNTS:
        (root / name).rename(tmp_path / "svhn" / name)
    assert len(load(SVHNConfig(root=str(tmp_path), size=32)).train.images) == 10


def test_another_set_is_noted(root: Path) -> None:
    notes = load(SVHNConfig(root=str(root), size=32)).notes
    assert len(notes) == 2
    assert "train_32x32.mat holds 10 images" in notes[0] and "73,257" in notes[0]
    assert "test_32x32.mat holds 7 images" in notes[1] and "26,032" in notes[1]


def test_a_set_of_official_size_must_have_the_official_checksum(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def md5(name: str) -> str:
        return hashlib.md5((root / name).read_bytes(), usedforsecurity=False).hexdigest()

    monkeypatch.setattr(svhn, "OFFICIAL", {name: (COUNTS[name], md5(name)) for name in COUNTS})
    assert load(SVHNConfig(root=str(root), size=32)).notes == ()
    monkeypatch.setitem(svhn.OFFICIAL, "test_32x32.mat", (7, "0" * 32))
    with pytest.raises(ValueError, match="test_32x32.mat has the official number.*expected md5 0"):
        load(SVHNConfig(root=str(root), size=32))


def test_the_checksums_are_the_ones_torchvision_knows() -> None:
    known = torchvision_datasets().SVHN.split_list
    for name, (_, md5) in svhn.OFFICIAL.items():
        assert known[name.split("_")[0]][1:] == [name, md5]


X = pictures("train_32x32.mat").transpose(2, 3, 1, 0)
Y = np.ones((10, 1), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"X": X}, "lacks y"),
        ({"images": X}, "lacks X and y"),
        ({"X": X, "y": Y[:9]}, r"y must be numbers of shape \(10, 1\).*\(9, 1\)"),
        ({"X": X, "y": np.array([["a"] * 10], object).T}, "y must be numbers .* got object"),
        ({"X": X.transpose(3, 0, 1, 2), "y": Y}, r"got uint8 of \(10, 32, 32, 3\)"),
        ({"X": X.astype(np.float64), "y": Y}, "X must be uint8 .* got float64"),
        ({"X": X, "y": 0 * Y}, "labels must be 1..10, got 0"),
        ({"X": X, "y": 11 * Y}, "labels must be 1..10, got 11"),
        ({"X": X, "y": 1.5 * Y}, "labels must be 1..10, got 1.5"),
    ],
)
def test_wrong_content_is_refused_by_path(
    root: Path, content: dict[str, NDArray[Any]], message: str
) -> None:
    write(root / "train_32x32.mat", **content)
    with pytest.raises(ValueError, match=message) as caught:
        load(SVHNConfig(root=str(root)))
    assert str(root / "train_32x32.mat") in str(caught.value)


@pytest.mark.parametrize("keep", [0, 60, 1_000, -1])
def test_a_cut_file_is_refused_by_path(root: Path, keep: int) -> None:
    path = root / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="download interrupted|lacks") as caught:
        load(SVHNConfig(root=str(root)))
    assert str(path) in str(caught.value)


def test_a_web_page_in_place_of_the_file_is_refused(root: Path) -> None:
    (root / "train_32x32.mat").write_text("<!doctype html>" + "moved " * 200)
    with pytest.raises(ValueError, match="train_32x32.mat is not a whole MATLAB 5 file"):
        load(SVHNConfig(root=str(root)))


def test_one_image_without_its_fourth_dimension(root: Path) -> None:
    write(root / "train_32x32.mat", X=X[..., 0], y=Y[:1])
    train = load(SVHNConfig(root=str(root), size=32)).train
    np.testing.assert_array_equal(train.images, pictures("train_32x32.mat")[:1])


def test_missing_files_say_what_is_expected_where(root: Path) -> None:
    (root / "test_32x32.mat").unlink()
    with pytest.raises(ValueError, match="lacks test_32x32.mat; expected .*--download") as caught:
        load(SVHNConfig(root=str(root)))
    assert f"{root} or {root / 'svhn'}" in str(caught.value)
    with pytest.raises(ValueError, match="the data root '.*nowhere' is no folder"):
        load(SVHNConfig(root=str(root / "nowhere")))


def test_the_config() -> None:
    config = SVHNConfig(root="data")
    assert (config.name, config.shape, config.binarize) == ("svhn", (3, 64, 64), False)
    assert SVHNConfig(root="data", size=32).shape == (3, 32, 32)
    assert from_json(to_json(config)) == config
    with pytest.raises(ValueError, match="28 or a multiple of 8 up to 1024, got size=50"):
        SVHNConfig(root="data", size=50)
    with pytest.raises(ValueError, match="28 or a multiple of 8 up to 1024, got size=64.0"):
        SVHNConfig(root="data", size=64.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="root must name a folder, got root=''"):
        SVHNConfig(root="")


def test_the_real_files(real_data: Callable[[str], str]) -> None:
    splits = load(SVHNConfig(root=real_data("svhn")))
    assert splits.train.images.shape[1:] == (3, 64, 64)
    assert abs(len(splits.val.images) - len(splits.test.images)) <= 1
    for split in splits[:3]:
        assert set(split.labels.tolist()) == set(range(10))
    complete = [len(splits.train.images), len(splits.val.images)] == [73_257, 13_016]
    assert (splits.notes == ()) == complete
