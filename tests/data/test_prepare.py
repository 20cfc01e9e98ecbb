"""Preparing shards: every image comes out once, even if the preparation is stopped between."""

import contextlib
import csv
import errno
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from genae_core.data import shards
from genae_core.data.base import Rows, Splits, load
from genae_core.data.digits import DigitsConfig
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.load import LoadOptions, load_splits
from genae_core.data.names import unescape_name
from genae_core.data.parts import PartMapper, map_here
from genae_core.data.preparation import FinishedShard, prepare
from genae_core.data.shard_images import open_shards
from genae_core.data.shards import ShardSpec, plan, read_manifest
from genae_core.data.storage import FileWriter, Folder


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 10 images of 32 x 32, row groups of 4."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 10 * 3 * 32 * 32)
    monkeypatch.setattr(shards, "GROUP_BYTES", 4 * 3 * 32 * 32)


@pytest.fixture
def data(tmp_path: Path) -> ImageFolderConfig:
    """64 noisy images in two classes, so 48 + 8 + 8 in 5 + 1 + 1 shards."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    for number, pixels in enumerate(noise):
        path = tmp_path / "raw" / f"class{number % 2}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return ImageFolderConfig(root=str(tmp_path / "raw"), size=32)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def assert_same(one: Splits, other: Splits) -> None:
    for first, second in zip(one[:3], other[:3], strict=True):
        np.testing.assert_array_equal(np.asarray(first.images), np.asarray(second.images))
        np.testing.assert_array_equal(first.labels, second.labels)
        assert first.labels.dtype == second.labels.dtype


def test_what_goes_in_comes_out(data: ImageFolderConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = prepare(data, Folder(out))
    assert sorted(contents(out)) == [
        "_manifest.json",
        "_rejected.csv",
        "test-00000.parquet",
        *(f"train-{n:05d}.parquet" for n in range(5)),
        "val-00000.parquet",
    ]
    assert (manifest.rows_in, manifest.rejected) == (64, 0)
    assert [manifest.rows(split) for split in ("train", "val", "test")] == [48, 8, 8]
    assert {shard.rows for shard in manifest.shards_of("train")} <= {9, 10}
    assert read_manifest(Folder(out)) == manifest
    assert_same(open_shards(Folder(out), tmp_path / "cache"), load(data))
    assert not (tmp_path / "out.partial").exists()


def test_a_shard_is_plain_parquet(data: ImageFolderConfig, tmp_path: Path) -> None:
    prepare(data, Folder(tmp_path / "out"))
    table = pq.read_table(tmp_path / "out" / "val-00000.parquet")
    assert str(table.schema.field("image").type).startswith("extension<arrow.fixed_shape_tensor")
    source = data.source()
    wanted = source.read("val", 0, 8)
    assert table.column("name").to_pylist() == wanted.names
    assert table.column("label").to_pylist() == wanted.labels.tolist()
    images = table.column("image").combine_chunks().to_numpy_ndarray()
    np.testing.assert_array_equal(images, wanted.images)


def test_attributes_come_along(tmp_path: Path) -> None:
    rows = load(DigitsConfig())
    bits = (rows.val.labels[:, None] >> np.arange(4) & 1).astype(np.uint8)

    class Bits:
        counts = {"val": 20}
        rejected = notes = ()
        label_names = ("1", "2", "4", "8")

        def read(self, split: str, first: int, last: int) -> Rows:
            images = np.asarray(rows.val.images)[first:last]
            names = ["a"] * (last - first)
            return Rows(images, bits[first:last], names, [], "", {"read": 0.0})

    folder = Folder(tmp_path)
    shard, _ = shards.write_shard(Bits(), ShardSpec("val", 0, 0, 20), folder, (1, 8, 8))
    labels = shards.ShardReader(folder, shard).labels()
    np.testing.assert_array_equal(labels, bits[:20])
    assert labels.dtype == np.uint8


def test_the_plan_covers_every_row_once() -> None:
    class Counted:
        counts = {"train": 101, "val": 10, "test": 0}

    specs = plan(Counted(), (3, 32, 32))  # type: ignore[arg-type]
    for split, count in Counted.counts.items():
        here = [spec for spec in specs if spec.split == split]
        rows = [row for spec in here for row in range(spec.first, spec.last)]
        assert rows == list(range(count))
        assert all(spec.last - spec.first <= 10 for spec in here)
    assert len({spec.file for spec in specs}) == len(specs)


class Killed(BaseException):
    """It acts like kill -9: none of our code runs after it."""


def stop_after(count: int) -> PartMapper:
    def map_some(
        function: Callable[[Any, Any], Any], job: Any, parts: Sequence[Any], start: Any = None
    ) -> Iterator[Any]:
        for number, result in enumerate(map_here(function, job, parts, start)):
            if number == count:
                raise Killed
            yield result

    return map_some


def test_a_rerun_makes_only_what_is_missing_and_ends_the_same(
    data: ImageFolderConfig, tmp_path: Path
) -> None:
    prepare(data, Folder(tmp_path / "whole"))
    out = tmp_path / "out"
    with pytest.raises(Killed):
        prepare(data, Folder(out), mapper=stop_after(3))
    assert not out.exists()
    partial = tmp_path / "out.partial"
    spoilt = sorted(partial.glob("train-*.parquet"))[1]
    spoilt.write_bytes(spoilt.read_bytes()[:-1])  # a disk that lost a byte
    (partial / ".train-00004.parquet.99").write_bytes(b"half a shard")

    made: list[str] = []
    known: list[int] = []
    prepare(
        data,
        Folder(out),
        on_plan=lambda _, todo, done: known.append(len(done)),
        on_shard=lambda done: made.append(done.shard.file),
    )
    assert known == [3] and len(made) == 4 and spoilt.name in made
    assert contents(out) == contents(tmp_path / "whole")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("place", ["empty", "link", "here", "mount"])
def test_a_folder_that_exists_is_written_inside(
    data: ImageFolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Nothing can be renamed to a link, a mounted disk or the current folder."""
    prepare(data, Folder(tmp_path / "whole"))
    real = tmp_path / "real"
    real.mkdir(mode=0o770)
    out, inode = real, real.stat().st_ino
    if place == "link":
        out = tmp_path / "link"
        out.symlink_to("real")
    elif place == "here":
        monkeypatch.chdir(real)
        out = Path(".")
    elif place == "mount":
        (real / "lost+found").mkdir()
        (real / ".snapshot").mkdir()
    with pytest.raises(Killed):
        prepare(data, Folder(out), mapper=stop_after(3))
    made: list[str] = []
    prepare(data, Folder(out), on_shard=lambda done: made.append(done.shard.file))
    assert len(made) == 3  # of 7: the others were finished
    assert names_in(real) - {"lost+found"} == names_in(tmp_path / "whole")
    assert real.stat().st_ino == inode  # with its mode, its owner and its disk
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]


def test_what_an_earlier_version_left_beside_a_folder_is_moved_inside(
    data: ImageFolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        prepare(data, Folder(tmp_path / "out"), mapper=stop_after(3))
    (tmp_path / "out").mkdir()
    with monkeypatch.context() as patch:  # killed while the second file is moved
        move, moved = shutil.move, []

        def move_one(*paths: Path) -> None:
            if moved:
                raise Killed
            moved.append(move(*paths))

        patch.setattr(shutil, "move", move_one)
        with pytest.raises(Killed):
            prepare(data, Folder(tmp_path / "out"))
    made: list[str] = []
    prepare(data, Folder(tmp_path / "out"), on_shard=lambda done: made.append(done.shard.file))
    assert len(made) == 3
    assert not (tmp_path / "out.partial").exists()


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(
    data: ImageFolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFolderConfig, "source", lambda _: pytest.fail("it was read"))
    (tmp_path / "file").write_text("")
    (tmp_path / "lost").symlink_to("nowhere")
    for out, reason in (
        ("file", "is a file and no folder"),
        ("file/deeper", "is a file and no folder"),
        ("lost", "is a link to nowhere, which does not exist"),
        ("raw", "is no finished dataset"),
    ):
        with pytest.raises(ValueError, match=reason):
            prepare(data, Folder(tmp_path / out))
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ValueError, match="cannot be written"):
        prepare(data, Folder(tmp_path / "new"))


@pytest.mark.slow
@pytest.mark.parametrize("existing", [True, False])
def test_a_fault_at_any_step_of_publishing_loses_no_shard(
    data: ImageFolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    """The same command goes on from each call that can fail, and makes no shard again."""
    prepare(data, Folder(tmp_path / "whole"))
    whole = contents(tmp_path / "whole")
    names = sorted(name for name in whole if name.endswith(".parquet"))
    for number in range(2 * existing, 100, 4):  # each second call that can fail
        out, made, killed = tmp_path / f"out{number}", list[FinishedShard](), False
        if existing:
            out.mkdir()
        for faults in (Faults(number), Faults(100)):
            with monkeypatch.context() as patch:
                for owner, name in ((Folder, "write"), (Folder, "delete"), (os, "replace")):
                    patch.setattr(owner, name, faults.wrap(getattr(owner, name)))
                with contextlib.suppress(Killed):
                    prepare(data, Folder(out), on_shard=made.append)
            killed |= faults.left < 0
            finished = (out / "_manifest.json").exists()
            assert not finished or contents(out).items() >= whole.items()
        assert sorted(one.shard.file for one in made) == names
        assert contents(out) == whole
        if not killed:
            break
    assert number > 20  # every write, rename and delete was hit


class Faults:
    """Kills the call with this number, of all calls of the functions that it wraps."""

    def __init__(self, number: int) -> None:
        self.left = number

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.left -= 1
            if self.left == -1:
                raise Killed
            return function(*arguments)

        return call


def test_a_finished_dataset_is_left_alone(data: ImageFolderConfig, tmp_path: Path) -> None:
    out = Folder(tmp_path / "out")
    first = prepare(data, out)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert prepare(data, out) == first
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    other = ImageFolderConfig(root=data.root, size=64)
    with pytest.raises(ValueError, match="holds image_folder prepared as .* choose another"):
        prepare(other, out)


def test_nothing_else_is_overwritten(data: ImageFolderConfig, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="is no finished dataset"):
        prepare(data, Folder(tmp_path / "out"))
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    assert prepare(data, Folder(tmp_path / "empty")).rows_in == 64


def test_unfinished_shards_of_other_files_are_not_mixed_in(
    data: ImageFolderConfig, tmp_path: Path
) -> None:
    out = Folder(tmp_path / "out")
    with pytest.raises(Killed):
        prepare(data, out, mapper=stop_after(1))
    Image.new("RGB", (32, 32)).save(tmp_path / "raw" / "class0" / "new.png")
    with pytest.raises(ValueError, match="unfinished shards of other files or settings"):
        prepare(data, out)


def spoil(root: Path, count: int) -> set[str]:
    """Cut the first files short; their names."""
    paths = sorted(root.rglob("*.png"))[:count]
    for path in paths:
        path.write_bytes(path.read_bytes()[:100])
    return {path.relative_to(root).as_posix() for path in paths}


def test_unusable_images_are_listed_and_stop_the_job_beyond_the_limit(
    data: ImageFolderConfig, tmp_path: Path
) -> None:
    wanted = spoil(Path(data.root), 5)
    out = Folder(tmp_path / "out")
    with pytest.raises(ValueError, match=r"of 64 files are unusable so far.* a higher"):
        prepare(data, out)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="5 of 64 files are unusable"):
        prepare(data, out, max_rejected=4.9 / 64)
    manifest = prepare(data, out, max_rejected=5 / 64)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "_rejected.csv").read_text())))
    assert {row["name"] for row in rows} == wanted and len(rows) == 5
    assert all("not a whole image" in row["reason"] for row in rows)
    assert manifest.rejected == 5
    assert sum(manifest.rows(split) for split in ("train", "val", "test")) == 59


def test_a_full_disk_loses_nothing(
    data: ImageFolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Folder(tmp_path / "out")
    files = [spec.file for spec in plan(data.source(), data.shape)]

    class Full:
        """A disk that takes ten more bytes."""

        def __init__(self, file: IO[bytes]) -> None:
            self.file = file

        def write(self, content: bytes) -> int:
            self.file.write(content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

    def written(file: IO[bytes], where: str) -> FileWriter:
        return FileWriter(Full(file) if files[2] in where else file, where)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("genae_core.data.storage.FileWriter", written)
        with pytest.raises(OSError, match=f"{files[2]}.*No space left"):
            prepare(data, out)
    partial = tmp_path / "out.partial"
    assert not [file for file in partial.iterdir() if file.name.startswith((".", files[2]))]
    made: list[str] = []
    prepare(data, out, on_shard=lambda done: made.append(done.shard.file))
    assert len(made) == 5  # of 7
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "free_bytes", lambda _: 10_000)
        with pytest.raises(OSError, match="need about 0 MB and the disk has 0 MB left"):
            prepare(data, Folder(tmp_path / "other"))


def test_a_changed_shard_is_refused(data: ImageFolderConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(data, Folder(out))
    path = out / "train-00002.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train-00002.parquet is not the shard .* prepare the"):
        open_shards(Folder(out), tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.npy"))
    with pytest.raises(ValueError, match="train-00002.parquet is not the shard"):
        open_shards(Folder(out), tmp_path / "cache", budget=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no manifest"),
        ("[]", "is no manifest: it is damaged: it holds no JSON object; delete"),
        ('{"format": 2}', "has format 2, and this genae reads 1"),
        ('{"format": 1, "dataset": "celeba"}', "is no manifest"),
    ],
)
def test_a_malformed_or_newer_manifest_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "_manifest.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_manifest(Folder(tmp_path))


def test_without_a_manifest_there_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no finished dataset: there is no _manifest.json"):
        read_manifest(Folder(tmp_path))


def test_load_splits_prepares_once_and_follows_the_files(
    data: ImageFolderConfig, tmp_path: Path
) -> None:
    said: list[str] = []
    first = load_splits(data, tmp_path / "home", say=said.append)
    again = load_splits(data, tmp_path / "home", say=said.append)
    assert said == ["preparing image_folder, once: 64 images in 7 shards ..."]
    assert_same(first, again)
    assert first.sha256 == again.sha256
    Image.new("RGB", (32, 32)).save(Path(data.root) / "class0" / "new.png")
    assert load_splits(data, tmp_path / "home", say=said.append).sha256 != first.sha256
    assert len(said) == 2


def test_load_splits_accepts_shards_of_the_same_dataset_only(
    data: ImageFolderConfig, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    prepare(data, Folder(out))
    shutil.rmtree(data.root)  # the files are no longer needed
    options = LoadOptions(shards=str(out))
    splits = load_splits(data, tmp_path / "home", options)
    assert len(splits.train.images) == 48
    for other in (DigitsConfig(), ImageFolderConfig(root=data.root, size=64)):
        with pytest.raises(ValueError, match="holds image_folder of shape"):
            load_splits(other, tmp_path / "home", options)


def test_the_identity_depends_on_the_pixels_and_not_on_their_place(
    data: ImageFolderConfig, tmp_path: Path
) -> None:
    prepare(data, Folder(tmp_path / "one"))
    shutil.move(data.root, tmp_path / "moved")
    moved = ImageFolderConfig(root=str(tmp_path / "moved"), size=32)
    prepare(moved, Folder(tmp_path / "two"))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    about = json.loads((tmp_path / "one" / "_manifest.json").read_text())
    assert str(tmp_path) not in json.dumps(about)


def test_a_spreadsheet_runs_no_name_as_a_formula(tmp_path: Path) -> None:
    """Each such cell gets an apostrophe, and so does a name that begins with one."""
    names = ("=1+1.png", "+1.png", "-1.png", "@a.png", "'a.png", "a=1.png", "\t=1.png")
    (tmp_path / "raw").mkdir()
    for name in names:
        (tmp_path / "raw" / name).write_bytes(b"no picture")
    data = ImageFolderConfig(root=str(tmp_path / "raw"), size=32)
    with pytest.raises(ValueError, match="of 7 files are unusable"):
        prepare(data, Folder(tmp_path / "out"), max_rejected=0.9)
    with (tmp_path / "out.partial" / "_rejected.csv").open(newline="") as file:
        cells = [row["name"] for row in csv.DictReader(file)]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    restored = {unescape_name(cell.removeprefix("'")) for cell in cells}
    assert restored == set(names)


def test_a_split_without_any_usable_image_is_refused(
    data: ImageFolderConfig, tmp_path: Path
) -> None:
    source = data.source()
    for name in source.read("val", 0, 8).names:
        (Path(data.root) / name).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"no file of the split val is usable; .*rejected\.csv"):
        prepare(data, Folder(tmp_path / "out"), max_rejected=1.0)
    assert not (tmp_path / "out").exists()
