"""Data whose root and shards have odd names: on a disk and on a store, from any folder."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from contracts.store import s3
from PIL import Image

from genae_core.data.digits import DigitsConfig
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.load import LoadOptions, load_splits
from genae_core.data.preparation import prepare
from genae_core.data.roots import choose_root, locate_root, replace_root
from genae_core.data.shard_images import StreamedImages, open_shards
from genae_core.data.shards import find_manifest
from genae_core.data.storage import Folder
from genae_core.recipes.options import DataOptions

ODD = "a b?c#d%25é"  # each character is one that a URI must quote
COUNT = 8


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with s3("bucket"):
        yield "s3://bucket"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with images in a folder of an odd name."""
    folder = tmp_path / ODD / "raw"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number}%20?#é.png")
    monkeypatch.chdir(tmp_path / ODD)
    monkeypatch.setenv("HOME", str(tmp_path / ODD))
    return tmp_path / ODD


@pytest.mark.parametrize(
    "spelling", ["raw", "./raw/", "~/raw", "x/../raw", "{uri}/raw", "{here}/raw/"]
)
def test_a_root_that_is_typed_anyhow_is_read_from_another_folder(
    spelling: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = spelling.format(uri=here.as_uri(), here=here)
    options = DataOptions(dataset="image_folder", data_root=typed, shards=typed)
    assert options.data_root == options.shards == str(here / "raw")
    data = ImageFolderConfig(root=typed, size=32)
    expected = prepare(data, Folder(f"out of {len(typed)}"))
    located = locate_root(data)
    monkeypatch.chdir("/")
    assert prepare(located, Folder(here / f"again {len(typed)}")) == expected
    streamed = open_shards(Folder(here / f"again {len(typed)}"), here / "cache", budget=1)
    assert isinstance(streamed.train.images, StreamedImages)


@pytest.mark.slow
def test_a_store_with_odd_names_holds_what_a_disk_holds(
    here: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = prepare(ImageFolderConfig(root="raw", size=32), Folder("out"))
    options = "?endpoint_override=" + os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    places = (
        f"{store}/{ODD}",  # as a person types it
        f"{store}/quoted/a%20b%3Fc%23d%2525%C3%A9/",
        f"{store}/with options/{ODD}{options}&scheme=http&region=us-east-1",
    )
    for place in places:
        raw, out = Folder(place) / "raw", Folder(place) / f"shards of {ODD}"
        for path in (here / "raw").iterdir():
            raw.write(path.name, path.read_bytes())
        assert {file.name for file in raw.files()} == set(os.listdir(here / "raw"))
        manifest = prepare(ImageFolderConfig(root=raw.uri, size=32), out)
        assert manifest == expected
        again = Folder(out.uri)  # as another process opens it
        assert again.uri == out.uri
        for name in ("_manifest.json", "train-00000.parquet"):
            assert again.read(name) == Folder("out").read(name)
        assert Folder(again.path_of("_manifest.json")).exists()
        assert len(open_shards(again, here / "cache").train.images) == COUNT - 2
    # The store's own client says which names it has. In a URI, %25 is a percent sign.
    listed = boto3.client("s3").list_objects_v2(Bucket="bucket")["Contents"]
    typed = ODD.replace("%25", "%")
    for prefix in (typed, f"quoted/{ODD}", f"with options/{typed}"):
        name = f"{prefix}/shards of {ODD}/_manifest.json"
        assert name in [entry["Key"] for entry in listed]


def test_the_options_of_a_store_are_checked_by_name(store: str) -> None:
    with pytest.raises(ValueError, match="regoin"):
        Folder(f"{store}/x?regoin=us-east-1").exists()


def test_an_unfinished_preparation_goes_on_from_another_spelling_of_the_root(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(ImageFolderConfig(root="raw", size=32), Folder(here / "out"), on_shard=stop)
    monkeypatch.chdir("/")
    counts: list[int] = []
    data = ImageFolderConfig(root=str(here / "raw"), size=32)
    with pytest.raises(ValueError, match=r"data.size was 32 and is 64 now; delete the folder"):
        prepare(ImageFolderConfig(root=data.root, size=64), Folder(here / "out"))
    prepare(data, Folder(here / "out"), on_plan=lambda _, todo, done: counts.append(len(done)))
    assert counts == [1]


def test_shards_of_version_0_1_are_read_and_continued(here: Path) -> None:
    data = ImageFolderConfig(root="raw", size=32)
    expected = prepare(data, Folder("out"))
    (here / "out" / "_manifest.json").rename(here / "out" / "manifest.json")
    (here / "out" / "_rejected.csv").rename(here / "out" / "rejected.csv")
    assert find_manifest(Folder("out")) == "manifest.json"
    assert prepare(data, Folder("out")) == expected
    assert load_splits(data, here, LoadOptions(shards="out")).sha256 == expected.sha256()
    assert not (here / "out" / "_manifest.json").exists()  # a finished folder stays as it is

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(data, Folder("cut"), on_shard=stop)
    partial = here / "cut.partial"
    (partial / "rejected.csv").write_text("name,reason\n")
    for path in list(partial.glob("_*")):
        path.rename(path.with_name(path.name[1:]))
    counts: list[int] = []
    prepare(data, Folder("cut"), on_plan=lambda _, todo, done: counts.append(len(done)))
    assert counts == [1]
    names = {path.name for path in (here / "cut").iterdir() if path.suffix != ".parquet"}
    assert names == {"_manifest.json", "_rejected.csv"}


def test_the_library_takes_places_as_a_user_types_them(here: Path) -> None:
    data = ImageFolderConfig(root="~/raw", size=32)
    splits = load_splits(data, Path("~/home"), LoadOptions(), say=lambda _: None)
    assert splits.sha256 and not (here / "~").exists()
    assert {path.name for path in (here / "home").iterdir()} == {"shards", "cache"}


def test_a_stored_root_is_read_from_its_folder_and_elsewhere_the_flag_wins(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = ImageFolderConfig(root="raw")  # as version 0.1 stored what was typed
    assert choose_root(stored, None) == stored
    monkeypatch.chdir("/")
    with pytest.raises(ValueError, match="relative root 'raw': start the command in the folder"):
        choose_root(stored, None)
    chosen = choose_root(stored, str(here / "raw"))
    assert chosen == ImageFolderConfig(root=str(here / "raw"))
    gone = ImageFolderConfig(root=str(here / "gone/"))
    with pytest.raises(ValueError, match="no folder .*gone; give --data-root if the images have"):
        choose_root(gone, None)
    on_store = ImageFolderConfig(root="s3://bucket/x")
    with pytest.raises(ValueError, match="does not say where its images lie; give --data-root"):
        choose_root(replace_root(stored, "***"), None)  # of an exported model
    assert choose_root(on_store, None) == on_store  # asking the store would take time
    assert choose_root(DigitsConfig(), "x") == DigitsConfig() == replace_root(DigitsConfig(), "x")
    assert json.dumps(locate_root(chosen).root) == json.dumps(str(here / "raw"))
