"""The same jobs on an object store that speaks S3, in this process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from contracts.store import s3
from PIL import Image

from genae_core.data.arrays import arrays_config
from genae_core.data.base import DataConfig, load
from genae_core.data.huggingface import HuggingFaceConfig
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.preparation import prepare
from genae_core.data.shard_images import StreamedImages, open_shards
from genae_core.data.storage import Folder

BUCKET = "pictures"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The URI of a bucket with 32 images under raw/."""
    with s3(BUCKET):
        yield f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, store: str) -> tuple[Path, Folder]:
    """The same images on a disk and in the bucket."""
    local, remote = tmp_path_factory.mktemp("photos"), Folder(f"{store}/raw")
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), np.uint8)
    for number, pixels in enumerate(noise):
        path = local / f"class{number % 2}" / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
        remote.write(path.relative_to(local).as_posix(), path.read_bytes())
    return local, remote


def test_a_folder_of_objects(store: str) -> None:
    folder = Folder(f"{store}/some")
    assert not folder.exists() and folder.files() == []
    folder.write("deep/er/x.TXT", b"hello")
    assert folder.exists() and folder.exists("deep/er/x.TXT") and not folder.exists("deep/y")
    ((name, size, changed),) = folder.files(".txt")
    assert (name, size) == ("deep/er/x.TXT", 5) and changed > 0
    assert folder.read("deep/er/x.TXT") == folder.read("deep/er/x.TXT", limit=5) == b"hello"
    with pytest.raises(OSError, match=r"has 5 bytes; at most 4 are read.*deep/er/x\.TXT"):
        folder.read("deep/er/x.TXT", limit=4)
    assert folder.sha256("deep/er/x.TXT").startswith("2cf24dba")
    assert (folder / "deep").read("er/x.TXT") == b"hello"
    assert folder.free_bytes() is None
    folder.delete("deep/er/x.TXT")
    folder.delete("deep/er/x.TXT")
    assert folder.files() == []


def test_a_bucket_that_is_not_there_is_named(store: str) -> None:
    folder = Folder("s3://nowhere/x")
    assert not folder.exists() and folder.files() == []
    with pytest.raises(ValueError, match="there is no folder s3://nowhere/x"):
        ImageFolderConfig(root="s3://nowhere/x").source()
    for refused in (lambda: folder.read("a"), lambda: folder.write("a", b"")):
        with pytest.raises(OSError, match="s3://nowhere/x/a"):
            refused()


def test_a_bucket_that_may_not_be_read_is_named() -> None:
    class Closed:
        def __getattr__(self, name: str) -> Any:
            def refuse(*_: object) -> None:
                raise OSError("AWS Error ACCESS_DENIED during HeadObject operation")

            return refuse

    folder = Folder("s3://closed/x")
    folder._store = Closed(), "closed/x"
    for refused in (
        lambda: folder.exists("a"),
        lambda: folder.files(),
        lambda: folder.read("a"),
        lambda: folder.write("a", b""),
        lambda: folder.sha256("a"),
    ):
        with pytest.raises(OSError, match="s3://closed/x.*ACCESS_DENIED"):
            refused()


@pytest.mark.slow
def test_from_bucket_to_bucket_and_the_same_bytes_as_on_a_disk(
    photos: tuple[Path, Folder], store: str, tmp_path: Path
) -> None:
    local, remote = photos
    here, there = Folder(tmp_path / "out"), Folder(f"{store}/out")
    wanted = prepare(ImageFolderConfig(root=str(local), size=32), here)
    found = prepare(ImageFolderConfig(root=remote.uri, size=32), there)
    assert found == wanted
    names = {file.name for file in here.files()}
    assert {file.name for file in there.files()} == names
    assert all(here.read(name) == there.read(name) for name in names)
    mapped = open_shards(there, tmp_path / "cache")
    streamed = open_shards(there, tmp_path / "cache", budget=1).train.images
    assert isinstance(streamed, StreamedImages)
    np.testing.assert_array_equal(
        streamed[np.arange(len(streamed))], np.asarray(mapped.train.images)
    )


@pytest.mark.slow
def test_a_job_that_stopped_publishes_nothing_and_goes_on(
    photos: tuple[Path, Folder], store: str
) -> None:
    data = ImageFolderConfig(root=photos[1].uri, size=32)
    out = Folder(f"{store}/stopped")
    with pytest.raises(KeyboardInterrupt):
        prepare(data, out, on_shard=_interrupt)
    assert out.exists("train-00000.parquet") and not out.exists("_manifest.json")
    made: list[str] = []
    prepare(data, out, on_shard=lambda done: made.append(done.shard.file))
    assert sorted(made) == ["test-00000.parquet", "val-00000.parquet"]
    assert {file.name for file in out.files()} == {
        "_manifest.json",
        "_rejected.csv",
        *(f"{split}-00000.parquet" for split in ("train", "val", "test")),
    }


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_an_object_that_another_deleted_is_rejected_by_name(
    photos: tuple[Path, Folder], store: str
) -> None:
    source = ImageFolderConfig(root=photos[1].uri, size=32).source()
    name = source.read("val", 0, 1).names[0]
    content = photos[1].read(name)
    photos[1].delete(name)
    try:
        rows = source.read("val", 0, 4)
    finally:
        photos[1].write(name, content)
    assert [each.name for each in rows.rejected] == [name] and len(rows.images) == 3


def test_objects_of_any_name_and_content_are_read_or_rejected(
    photos: tuple[Path, Folder], store: str, tmp_path: Path
) -> None:
    raw = Folder(f"{store}/odd")
    content, *contents = (path.read_bytes() for path in sorted(photos[0].rglob("*.png")))
    good = ("Zoë 猫.png", "a b+c%20d?e#f.png", "=1+1.png", "back\\slash.png", "c.png")
    for name, picture in zip(good, contents, strict=False):
        raw.write(name, picture)
    bad = {"-eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n", "empty.png": b"", "cut.png": content[:99]}
    for name, wrong in bad.items():
        raw.write(name, wrong)
    manifest = prepare(ImageFolderConfig(root=raw.uri, size=32), Folder(tmp_path / "out"), 0.9)
    assert (manifest.rows_in, manifest.rejected) == (len(good) + len(bad), len(bad))
    lines = (tmp_path / "out" / "_rejected.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["name", "'-eps.png", "cut.png", "empty.png"]


def upload(local: Path, remote: Folder) -> None:
    for path in local.rglob("*"):
        if path.is_file():
            remote.write(path.relative_to(local).as_posix(), path.read_bytes())


@pytest.mark.slow
def test_own_arrays_and_tables_are_read_from_a_bucket(store: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(2, 256, (24, 32, 32), np.uint8)
    (tmp_path / "arrays").mkdir()
    np.savez(tmp_path / "arrays" / "own.npz", images=pixels, labels=np.arange(24) % 3)
    pictures = {"image": [Image.fromarray(image) for image in pixels]}
    features = datasets.Features({"image": datasets.Image()})
    table = datasets.Dataset.from_dict(pictures, features=features)
    table.save_to_disk(tmp_path / "arrow", num_shards=2)
    table.to_parquet(tmp_path / "parquet" / "train-00000-of-00001.parquet")
    for kind in ("arrays", "arrow", "parquet"):
        upload(tmp_path / kind, Folder(f"{store}/own/{kind}"))
    for kind, file in (("arrays", "/own.npz"), ("arrays", ""), ("arrow", ""), ("parquet", "")):
        digests = set()
        for place in (str(tmp_path), f"{store}/own"):
            root = f"{place}/{kind}{file}"
            data: DataConfig = HuggingFaceConfig(root=root, size=32, grey=True)
            if kind == "arrays":
                data = arrays_config(root)
            splits = load(data)
            assert splits.train.images.shape == (18, 1, 32, 32)
            assert data.stamp() == data.source().stamp
            digests.add(splits.sha256)
        assert len(digests) == 1
    with pytest.raises(ValueError, match="there is no file s3://pictures/own/nowhere.npz"):
        arrays_config(f"{store}/own/nowhere.npz")
