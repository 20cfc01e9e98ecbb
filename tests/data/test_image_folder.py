"""A user's own folder of images."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genae_core.config import flatten, from_json, identity, to_dict, to_json
from genae_core.data.base import load
from genae_core.data.image_folder import ImageFolderConfig


def draw(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 48), (level, level, level)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, one image a level, PNG and JPEG by turns; and files that are no images."""
    for number in range(16):
        kind = "png" if number % 2 else "JPG"
        draw(tmp_path / ("dark" if number < 8 else "light") / f"{number:02}.{kind}", 10 * number)
    (tmp_path / "README.md").write_text("how I made these")
    (tmp_path / ".cache").mkdir()
    draw(tmp_path / ".cache" / "thumbnail.png", 250)
    return tmp_path


def test_classes_are_folders_and_every_image_is_in_one_split(root: Path) -> None:
    data = ImageFolderConfig(root=str(root), size=32)
    source = data.source()
    assert source.counts == {"train": 12, "val": 2, "test": 2}
    assert source.label_names == ("dark", "light")
    splits = load(data)
    levels = []
    for split in (splits.train, splits.val, splits.test):
        level = np.asarray(split.images).mean(axis=(1, 2, 3)).round(-1)
        np.testing.assert_array_equal(split.labels, level >= 80)
        levels += level.tolist()
    assert Counter(levels) == Counter(range(0, 160, 10))


def test_a_flat_folder_has_no_classes(tmp_path: Path) -> None:
    for number in range(8):
        draw(tmp_path / f"{number}.png", number)
    source = ImageFolderConfig(root=str(tmp_path)).source()
    assert source.label_names == ()
    assert (
        "8 images, cut by seed 0 into 6 train, 1 val and 1 test images, without"
        in (source.notes[0])
    )
    assert set(load(ImageFolderConfig(root=str(tmp_path))).train.labels) == {0}


def test_the_cut_is_seeded(root: Path) -> None:
    cuts = [
        ImageFolderConfig(root=str(root), split_seed=seed).source().read("train", 0, 12).names
        for seed in (0, 0, 1)
    ]
    assert cuts[0] == cuts[1] and set(cuts[0]) != set(cuts[2])


def test_a_seeded_choice_of_so_many(root: Path) -> None:
    chosen = ImageFolderConfig(root=str(root), max_images=8).source()
    assert chosen.counts == {"train": 6, "val": 1, "test": 1}
    other = ImageFolderConfig(root=str(root), max_images=8, split_seed=1).source()
    assert set(chosen.read("train", 0, 6).names) != set(other.read("train", 0, 6).names)
    all_of_them = ImageFolderConfig(root=str(root), max_images=100).source()
    assert sum(all_of_them.counts.values()) == 16


def test_an_image_beside_class_folders_is_named(root: Path) -> None:
    draw(root / "stray.png", 0)
    with pytest.raises(ValueError, match="1 images, such as stray.png, lie beside the class"):
        ImageFolderConfig(root=str(root)).source()


@pytest.mark.parametrize("folders", [("",), ("dark", "light")])
def test_a_plain_folder_keeps_its_stamp_and_its_cut(tmp_path: Path, folders: list[str]) -> None:
    """The keys of prepared data depend on them: derived here from their definitions."""
    for number in range(24):
        draw(tmp_path / folders[number % len(folders)] / f"{number:02}.png", number)
    paths = sorted(tmp_path.rglob("*.png"))
    names = [path.relative_to(tmp_path).as_posix() for path in paths]
    stats = [
        (n, p.stat().st_size, p.stat().st_mtime_ns) for n, p in zip(names, paths, strict=True)
    ]
    digest = hashlib.sha256("".join(map(repr, stats)).encode()).hexdigest()
    data = ImageFolderConfig(root=str(tmp_path), split_seed=5)
    assert data.stamp() == data.source().stamp == digest
    order = np.random.default_rng(5).permutation(24)
    cut = {"val": order[:3], "test": order[3:6], "train": order[6:]}
    source = data.source()
    for split, rows in cut.items():
        assert source.names[split] == tuple(names[row] for row in sorted(rows))


def test_the_stamp_follows_the_files(root: Path) -> None:
    data = ImageFolderConfig(root=str(root))
    before = data.stamp()
    (root / "README.md").write_text("no image")
    assert data.stamp() == before
    draw(root / "dark" / "00.JPG", 77)
    assert data.stamp() != before


def test_too_few_images_and_no_folder(tmp_path: Path) -> None:
    draw(tmp_path / "one.png", 0)
    with pytest.raises(ValueError, match="at least 3 images, got 1 below"):
        ImageFolderConfig(root=str(tmp_path)).source()
    with pytest.raises(ValueError, match="there is no folder .*nowhere"):
        ImageFolderConfig(root=str(tmp_path / "nowhere")).stamp()


def test_broken_files_are_told_apart(root: Path) -> None:
    """What cannot be read or decoded is rejected by name; the others keep their labels."""
    (root / "dark" / "00.JPG").write_bytes(b"\xff\xd8\xff")
    (root / "light" / "09.png").unlink()
    (root / "light" / "09.png").symlink_to(root / "nowhere.png")
    source = ImageFolderConfig(root=str(root), size=32).source()
    rows = [source.read(split, 0, count) for split, count in source.counts.items()]
    rejected = {each.name: each.reason for part in rows for each in part.rejected}
    assert set(rejected) == {"dark/00.JPG", "light/09.png"}
    assert "not a whole JPEG" in rejected["dark/00.JPG"]
    assert "No such file" in rejected["light/09.png"]
    for part in rows:
        assert len(part.images) == len(part.labels) == len(part.names)
        for name, label in zip(part.names, part.labels, strict=True):
            assert label == name.startswith("light")


def test_the_config() -> None:
    data = ImageFolderConfig(root="photos", size=32, crop=0.5, split_seed=3)
    assert (data.name, data.shape, data.binarize) == ("image_folder", (3, 32, 32), False)
    assert from_json(to_json(data)) == data
    for settings in (
        {"size": 50},
        {"crop": 0.0},
        {"split_seed": -1},
        {"root": ""},
        {"max_images": 2},
    ):
        with pytest.raises(ValueError, match=next(iter(settings))):
            ImageFolderConfig(**{"root": "photos", **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp"])
def test_grey_images_of_28_px_stay_as_they_are(tmp_path: Path, kind: str) -> None:
    """A grey file of the right size keeps its pixels; only JPEG changes them, for both alike."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 28, 28), np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.{kind}")
    data = ImageFolderConfig(root=str(tmp_path), size=28, grey=True)
    assert data.shape == (1, 28, 28)
    splits = load(data)
    read = np.concatenate([np.asarray(split.images) for split in splits[:3]])
    stored = [
        np.asarray(Image.open(tmp_path / f"{number}.{kind}").convert("L")) for number in range(8)
    ]
    assert {image.tobytes() for image in read} == {image.tobytes() for image in stored}
    colour = load(ImageFolderConfig(root=str(tmp_path), size=28))
    np.testing.assert_array_equal(colour.train.images, splits.train.images.repeat(3, axis=1))


def test_a_folder_without_grey_is_stored_as_before(tmp_path: Path) -> None:
    """Stored runs and shards have no such field, and their keys are hashes over all fields."""
    plain, grey = (ImageFolderConfig(root="a", grey=value) for value in (False, True))
    fields = ["config", "root", "size", "crop", "split_seed", "max_images"]
    assert [*to_dict(plain)] == [*identity(plain)] == fields
    assert [*flatten(plain)] == fields[1:]
    assert to_dict(grey)["grey"] is True and from_json(to_json(grey)) == grey
    with pytest.raises(ValueError, match="grey must be True or False, got grey=1"):
        ImageFolderConfig(root="a", grey=1)  # type: ignore[arg-type]
