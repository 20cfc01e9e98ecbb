"""Folders of a user's images: generated trees whose meaning is known."""

import errno
import os
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from genae_core.data.folder_tree import (
    ENDINGS_OF_FORMAT,
    read_tree,
    sort_out,
    split_named,
)
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.pillow_decoding import FORMATS

SPELLINGS = {
    "train": ["train", "Train", "TRAINING", "training_set", "train2017", "train-images"],
    "val": ["val", "valid", "Validation", "dev", "validation_set", "val2017"],
    "test": ["test", "Test", "testing", "test_set", "test images"],
}
CLASSES = ["cat", "dog", "0", "10", "n01440764", "Ünï", "a b", "images", "train station"]
ENDINGS = [".jpg", ".JPEG", ".png", ".Jfif", ".jpe", ".avif", ".ppm", ".TIF", ".webp", ".bmp"]
PASSED_OVER = {  # files, and the words that count them
    "notes.txt": "of the type .txt",
    "labels.CSV": "of the type .csv",
    "photo.heic": "of the type .heic",
    "LICENSE": "without an ending",
    "Thumbs.db": "named Thumbs.db, which programs make",
    "@eaDir/1.jpg": "in folders named @eaDir, which programs make",
    "__MACOSX/1.png": "in folders named __MACOSX, which programs make",
}


class Tree(NamedTuple):
    """A generated tree: the split and class of each image, and the other files.

    "" stands for no split and for no class.
    """

    images: dict[str, tuple[str, str]]
    others: dict[str, str]
    wrapper: str


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    wrapper = "".join(
        f"{name}/" for name in draw(st.lists(st.sampled_from(["archive", "my data"]), max_size=2))
    )
    kind = draw(st.sampled_from(["flat", "classes", "splits", "splits/classes", "classes/splits"]))
    splits = {"": ""}
    if "splits" in kind:
        held_out = draw(st.sampled_from([["val"], ["test"], ["val", "test"]]))
        splits = {s: draw(st.sampled_from(SPELLINGS[s])) for s in ["train", *held_out]}
    classes = [""]
    if "classes" in kind:
        chosen = st.lists(st.sampled_from(CLASSES), min_size=2, max_size=4, unique=True)
        classes = draw(chosen)
    below = draw(st.sampled_from(["", "images/", "a/b/"])) if kind == "splits" else ""
    images, count = {}, st.integers(1, 3)
    for split, folder in splits.items():
        here = classes
        if split in ("val", "test") and kind == "splits/classes":
            here = draw(st.lists(st.sampled_from(classes), min_size=1, unique=True))
        for label in here:
            parts = [label, folder] if kind == "classes/splits" else [folder, label]
            place = wrapper + "".join(f"{part}/" for part in parts if part) + below
            if label and draw(st.booleans()):
                place += "deeper/"
            for number in range(draw(count) + (4 if split in ("", "train") else 0)):
                ending = draw(st.sampled_from(ENDINGS))
                images[f"{place}{number}{ending}"] = (split, label)
    folders = sorted({name.rpartition("/")[0] for name in images} | {""})
    others = {}
    for name in draw(st.lists(st.sampled_from([*PASSED_OVER]), unique=True)):
        folder = draw(st.sampled_from(folders))
        others[f"{folder}/{name}" if folder else name] = PASSED_OVER[name]
    return Tree(images, others, wrapper)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(tree=trees(), seed=st.integers(0, 3))
def test_what_the_folders_say_is_what_is_read(tree: Tree, seed: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        for name in (*tree.images, *tree.others):
            path = Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        data = ImageFolderConfig(root=root, split_seed=seed)
        source = data.source()
        assert data.stamp() == source.stamp

    read = {name: split for split, names in source.names.items() for name in names}
    assert read.keys() == tree.images.keys()
    assert sum(source.counts.values()) == len(tree.images)  # Each image is in one split.
    classes = sorted({label for _, label in tree.images.values()} - {""})
    assert source.label_names == tuple(classes)
    for split, names in source.names.items():
        for name, label in zip(names, source.labels[split].tolist(), strict=True):
            assert not classes or classes[label] == tree.images[name][1]
    wanted = Counter(split for split, _ in tree.images.values())
    counts = Counter(source.counts)
    if "" in wanted:
        held_out = max(1, len(tree.images) // 8)
        assert (counts["val"], counts["test"]) == (held_out, held_out)
    else:
        for name, (split, _) in tree.images.items():
            assert read[name] == split or split == "train"
        missing = {"val", "test"} - wanted.keys()
        cut = max(1, wanted["train"] // 8)  # No two files have the same bytes.
        assert all(counts[split] == cut for split in missing)
        assert all(counts[split] == wanted[split] for split in {"val", "test"} - missing)
        assert ("the folder has no" in " ".join(source.notes)) == bool(missing)
    assert all(name in source.notes[0] for name in classes)
    assert sum("is read in place of" in note for note in source.notes) == bool(tree.wrapper)
    said = " ".join(source.notes)
    for reason, count in Counter(tree.others.values()).items():
        assert f"{count} {reason} (such as " in said
    assert (f"{len(tree.others)} file" in said) == bool(tree.others)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            "train/a/1.png train/b/1.png test/1.png",
            "/r/train has class folders .a, b., but /r/test has none",
        ),
        (
            "train/1.png test/1.png extra/1.png",
            "the splits test, train and beside them extra .1 images.",
        ),
        ("train/1.png val/1.png valid/2.png", "val and valid in /r both mean the split val"),
        ("val/1.png test/1.png", "the splits test, val, but no folder train"),
        (
            "train/1.png test/1.png 2.png",
            "1 images, such as 2.png, lie beside the split folders in /r .test, train.",
        ),
        (
            "train/a/1.png train/b/1.png train/2.png test/a/1.png",
            "such as train/2.png, lie beside the class folders in /r/train .a, b.",
        ),
        ("x/a/1.png 2.png", "1 images, such as 2.png, lie beside the class folders in /r .x.;"),
    ],
)
def test_ambiguous_folders_are_refused(names: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_tree(names.split(), "/r")


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["bus/1.png", "car/1.png", "train/1.png"], ("bus", "car", "train")),
        (["test1/1.png", "test2/1.png", "test3/1.png"], ("test1", "test2", "test3")),
        (["test tube/1.png", "training shoe/1.png"], ("test tube", "training shoe")),
        (["cat/1.png", "cat/2.png"], ()),
        (["a/b/1.png", "a/b/c/2.png"], ()),
        (["cat/train/1.png", "dog/1.png"], ("cat", "dog")),
    ],
)
def test_folders_that_only_look_like_splits(names: list[str], classes: tuple[str, ...]) -> None:
    tree = read_tree(names, "/r")
    assert tree.classes == classes and [*tree.splits] == [""]


@pytest.mark.parametrize(("split", "names"), SPELLINGS.items())
def test_the_spellings_of_splits(split: str, names: list[str]) -> None:
    assert {split_named(name) for name in names} == {split}
    assert split_named(f"{split} station") is None


def test_hidden_files_and_many_types_are_counted() -> None:
    names = [".hidden/", "a/._1.png", "x.tar.gz", *(f"{n}.t{n:02}" for n in range(20))]
    images, ignored = sort_out([*names, "1.png"])
    assert images == [len(names)]
    assert (ignored[0].reason, ignored[0].names) == ("hidden", names[:2])
    assert sum(len(group.names) for group in ignored) == len(names)


def test_every_ending_belongs_to_a_format_of_the_decoder() -> None:
    assert {*ENDINGS_OF_FORMAT} == {*FORMATS}
    known = Image.registered_extensions()
    for name, endings in ENDINGS_OF_FORMAT.items():
        assert {known[ending] for ending in endings} == {name}


def test_a_choice_of_images_takes_a_share_of_each_split(tmp_path: Path) -> None:
    for split, count in (("train", 40), ("val", 8), ("test", 16)):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(count // 2):
                (tmp_path / split / label / f"{number}.png").touch()
    source = ImageFolderConfig(root=str(tmp_path), max_images=32).source()
    assert source.counts == {"train": 20, "val": 4, "test": 8}
    assert source.label_names == ("cat", "dog")
    for split, names in source.names.items():
        assert all(name.startswith(f"{split}/") for name in names)
        assert [name.split("/")[1] == "dog" for name in names] == source.labels[split].tolist()


def test_a_class_without_training_images_is_named(tmp_path: Path) -> None:
    for name in ("train/cat", "train/dog", "test/cat", "test/bird", "val/dog"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").touch()
    source = ImageFolderConfig(root=str(tmp_path)).source()
    assert source.label_names == ("bird", "cat", "dog")
    assert "image_folder: no training image is in bird." in source.notes


def test_a_folder_without_images_says_what_is_there(tmp_path: Path) -> None:
    for name in ("photos.zip", "a.heic", "b.heic"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="got 0 below") as caught:
        ImageFolderConfig(root=str(tmp_path)).source()
    assert "2 of the type .heic (such as a.heic)" in str(caught.value)
    assert str(caught.value).endswith("unpack photos.zip first")
    with pytest.raises(ValueError, match=re.escape("photos.zip is a file and no folder")):
        ImageFolderConfig(root=str(tmp_path / "photos.zip")).stamp()


def test_too_few_training_images_for_the_missing_splits(tmp_path: Path) -> None:
    for name in ("train/1.png", "val/1.png", "val/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="train/ has 0 images that are not held out as well"):
        ImageFolderConfig(root=str(tmp_path)).source()


def test_a_class_folder_that_cannot_be_listed_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in ("cat", "dog"):
        for number in range(4):
            (tmp_path / label).mkdir(exist_ok=True)
            (tmp_path / label / f"{number}.png").touch()
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("/dog"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match=r"/dog/ cannot be listed: Permission denied"):
        ImageFolderConfig(root=str(tmp_path)).stamp()


def test_a_linked_class_counts_once(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(4):
            (tmp_path / label / f"{number}.png").touch()
    (tmp_path / "kitten").symlink_to(tmp_path / "cat")
    (tmp_path / "dog" / "all").symlink_to(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "0.png").touch()
    source = ImageFolderConfig(root=str(tmp_path)).source()
    assert sum(source.counts.values()) == 8 and source.label_names == ("cat", "dog")
    said = " ".join(source.notes)
    assert "2 links to folders are passed over" in said
    assert "1 file passed over: 1 hidden (such as .cache/)" in said
