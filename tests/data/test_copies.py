"""Held-out images are never also trained on, whatever their files are called or contain."""

import csv
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from genae_core.data import shards
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.load import LoadOptions, load_splits
from genae_core.data.parts import map_here
from genae_core.data.preparation import prepare
from genae_core.data.shard_images import open_shards
from genae_core.data.storage import Folder


@pytest.fixture(autouse=True, scope="module")
def small_shards() -> Iterator[None]:
    """Shards of 10 images of 32 x 32, row groups of 4."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_BYTES", 10 * 3 * 32 * 32)
        patch.setattr(shards, "GROUP_BYTES", 4 * 3 * 32 * 32)
        yield


def picture(number: int) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)


def save(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number)).save(path)


def rows_of(out: Path) -> dict[str, list[bytes]]:
    """The pixels of each row, by split."""
    rows: dict[str, list[bytes]] = {"train": [], "val": [], "test": []}
    for path in sorted(out.glob("*.parquet")):
        images = pq.read_table(path).column("image").combine_chunks().to_numpy_ndarray()
        rows[path.name.split("-")[0]] += [image.tobytes() for image in images]
    return rows


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Forty pictures; every second of them twice, as PNG and as BMP."""
    for number in range(40):
        save(tmp_path / "raw" / f"{number:02}.png", number)
    for number in range(0, 40, 2):
        save(tmp_path / "raw" / f"{number:02} copy.bmp", number)
    return tmp_path / "raw"


def test_a_cut_keeps_no_copy_of_a_held_out_image_in_train(raw: Path, tmp_path: Path) -> None:
    manifest = prepare(ImageFolderConfig(root=str(raw), size=32), Folder(tmp_path / "out"))
    rows = rows_of(tmp_path / "out")
    assert not set(rows["train"]) & {*rows["val"], *rows["test"]}
    assert not set(rows["val"]) & set(rows["test"])
    everything = {row for split in rows.values() for row in split}
    assert everything == {picture(n).transpose(2, 0, 1).tobytes() for n in range(40)}
    with (tmp_path / "out" / "_rejected.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert manifest.copies == len(listed) > 0 and manifest.rejected == 0
    assert all("shows the same pixels as an image of the" in row["reason"] for row in listed)
    assert sum(map(len, rows.values())) + len(listed) == manifest.rows_in == 60
    (note,) = [note for note in manifest.notes if "left out" in note]
    numbers = [int(word) for word in note.split() if word.isdigit()]
    assert sum(numbers) == len(listed)
    splits = open_shards(Folder(tmp_path / "out"), tmp_path / "cache")
    assert [len(split.images) for split in splits[:3]] == [len(rows[s]) for s in rows]


def test_the_users_splits_lose_only_what_is_held_out(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / "raw" / "train" / f"{number}.png", number)
    for number in (3, 7, 20, 21):
        save(tmp_path / "raw" / "test" / f"x{number}.bmp", number)
    for number in (7, 30, 31):
        save(tmp_path / "raw" / "val" / f"y{number}.png", number)
    save(tmp_path / "raw" / "train" / "again.png", 5)
    manifest = prepare(
        ImageFolderConfig(root=str(tmp_path / "raw"), size=32), Folder(tmp_path / "out")
    )
    rows = rows_of(tmp_path / "out")
    wanted = {
        "train": [0, 1, 10, 11, 2, 4, 5, 6, 8, 9, 5],
        "val": [30, 31],
        "test": [20, 21, 3, 7],
    }
    for split, numbers in wanted.items():
        pixels = [picture(n).transpose(2, 0, 1).tobytes() for n in numbers]
        assert sorted(rows[split]) == sorted(pixels)
    assert manifest.copies == 3
    assert manifest.notes[-2:] == (
        "image_folder: 2 train and 1 val images are left out, because they show the same pixels "
        "as held-out images.",
        "image_folder: 1 images show the same pixels as another image of their split; they are "
        "kept.",
    )


def test_without_copies_nothing_is_written_twice(tmp_path: Path) -> None:
    for number in range(24):
        save(tmp_path / "raw" / f"{number}.png", number)
    made: list[str] = []
    manifest = prepare(
        ImageFolderConfig(root=str(tmp_path / "raw"), size=32),
        Folder(tmp_path / "out"),
        on_shard=lambda done: made.append(done.shard.sha256),
    )
    assert [shard.sha256 for shard in manifest.shards] == made
    assert manifest.copies == 0 and len(manifest.notes) == 1


def test_a_job_that_is_stopped_while_copies_are_dropped_ends_the_same(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ImageFolderConfig(root=str(raw), size=32)
    prepare(data, Folder(tmp_path / "whole"))
    drop, dropped = shards.drop_rows, []

    def drop_one(*arguments: Any) -> shards.Shard:
        if dropped:
            raise KeyboardInterrupt
        dropped.append(drop(*arguments))
        return dropped[0]

    for stop_before_receipt in (False, True):
        out = tmp_path / f"out{stop_before_receipt}"
        dropped.clear()
        with monkeypatch.context() as patch:
            patch.setattr("genae_core.data.preparation.drop_rows", drop_one)
            if stop_before_receipt:
                patch.setattr("genae_core.data.preparation._write_receipt", _write_once())
            with pytest.raises(KeyboardInterrupt):
                prepare(data, Folder(out))
        prepare(data, Folder(out))
        for path in (tmp_path / "whole").iterdir():
            assert (out / path.name).read_bytes() == path.read_bytes()


def _write_once() -> Callable[..., None]:
    """Receipts are written, except of a shard without its copies."""
    from genae_core.data.preparation import _write_receipt as write

    def write_or_stop(folder: Folder, shard: shards.Shard) -> None:
        if shard.copies:
            raise KeyboardInterrupt
        write(folder, shard)

    return write_or_stop


def test_a_split_of_copies_alone_is_refused(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "raw" / f"{number}.png", 0)
    with pytest.raises(
        ValueError, match="the train split has no image left: of 4 files, 0 are unusable and 4"
    ):
        prepare(ImageFolderConfig(root=str(tmp_path / "raw"), size=32), Folder(tmp_path / "out"))


def test_copies_do_not_count_as_unusable(raw: Path, tmp_path: Path) -> None:
    data = ImageFolderConfig(root=str(raw), size=32)
    manifest = prepare(data, Folder(tmp_path / "out"), max_rejected=0, mapper=map_here)
    assert manifest.copies and manifest.rejected == 0


SMALL_SETS = st.lists(st.integers(0, 11), min_size=1, max_size=8)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(train=SMALL_SETS, val=SMALL_SETS, test=SMALL_SETS)
def test_what_is_left_of_generated_splits(
    train: list[int], val: list[int], test: list[int]
) -> None:
    """Test keeps all, val what test lacks, train what both lack; an empty split is refused."""
    wanted = {
        "train": [n for n in train if n not in {*val, *test}],
        "val": [n for n in val if n not in test],
        "test": test,
    }
    with tempfile.TemporaryDirectory() as folder:
        for split, numbers in (("train", train), ("val", val), ("test", test)):
            for position, number in enumerate(numbers):
                ending = "png" if position % 2 else "bmp"
                save(Path(folder, "raw", split, f"{position}.{ending}"), number)
        data = ImageFolderConfig(root=f"{folder}/raw", size=32)
        if not all(wanted.values()):
            with pytest.raises(ValueError, match="split has no image left"):
                prepare(data, Folder(f"{folder}/out"))
            return
        manifest = prepare(data, Folder(f"{folder}/out"))
        rows = rows_of(Path(folder, "out"))
    for split, numbers in wanted.items():
        pixels = [picture(n).transpose(2, 0, 1).tobytes() for n in numbers]
        assert sorted(rows[split]) == sorted(pixels)
    assert manifest.copies == sum(map(len, (train, val, test))) - sum(map(len, wanted.values()))


def test_shards_of_an_earlier_version_say_that_they_train_on_held_out_images(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ImageFolderConfig(root=str(raw), size=32)
    with monkeypatch.context() as patch:  # That version did not look.
        patch.setattr("genae_core.data.preparation.find_copies", lambda _: {})
        prepare(data, Folder(tmp_path / "out"))
    (manifest,) = (tmp_path / "out").glob("*manifest.json")
    values = json.loads(manifest.read_text())
    del values["copies"], values["seal"]
    manifest.write_text(json.dumps(values))
    held_out = {*rows_of(tmp_path / "out")["val"], *rows_of(tmp_path / "out")["test"]}
    count = sum(row in held_out for row in rows_of(tmp_path / "out")["train"])
    splits = load_splits(data, tmp_path / "home", LoadOptions(shards=str(tmp_path / "out")))
    assert f"{count} training images in {tmp_path / 'out'} show the same" in splits.notes[-1]
    new = load_splits(data, tmp_path / "home", say=lambda _: None)
    assert not any("An earlier version" in note for note in new.notes)


def test_a_missing_split_is_cut_from_what_is_not_held_out(tmp_path: Path) -> None:
    """Sixteen of 40 training images are also test images; 24 // 8 of the others become val."""
    for number in range(40):
        save(tmp_path / "raw" / "train" / f"{number}.png", number)
    for number in range(16):
        save(tmp_path / "raw" / "test" / f"{number}.png", number)
    data = ImageFolderConfig(root=str(tmp_path / "raw"), size=32)
    manifest = prepare(data, Folder(tmp_path / "out"))
    assert [manifest.rows(split) for split in ("train", "val", "test")] == [21, 3, 16]
    assert manifest.copies == 16
