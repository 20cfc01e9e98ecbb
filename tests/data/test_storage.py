"""Listing and reading what may lie in a user's folder."""

import os
import socket
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from contracts.pictures import encode, paint

from genae_core.data import storage
from genae_core.data.celeba_lists import read_partition
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.names import escape_name, unescape_name
from genae_core.data.preparation import prepare
from genae_core.data.shard_images import open_shards
from genae_core.data.storage import Folder, Unreadable

LATIN = os.fsdecode(b"caf\xe9.png")  # names that are not UTF-8
DOGS = os.fsdecode(b"h\xfcnde")


def names(folder: Path, *endings: str) -> list[str]:
    return [file.name for file in Folder(folder).files(*endings)]


def png(name: str) -> bytes:
    """A picture of its own for each name."""
    return encode(paint(zlib.crc32(os.fsencode(name))), "PNG")


def fill(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(name))


def test_each_real_folder_is_listed_once(tmp_path: Path) -> None:
    """Links to the folder itself, above it, below it, to each other, and to folders outside."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    fill(root, "a/1.png", "b/c/2.png")
    fill(outside, "d/3.png", "d/e/4.png")
    (root / "a" / "all").symlink_to("..")
    (root / "again").symlink_to("a")
    (root / "a" / "sideways").symlink_to("../b")
    (root / "b" / "c" / "self").symlink_to(".")
    (root / "disk").symlink_to("/")
    (root / "d").symlink_to(outside / "d")
    (root / "z").symlink_to(outside / "d" / "e")  # lies in d
    (outside / "d" / "up").symlink_to("..")
    (outside / "d" / "back").symlink_to(root)
    listing = Folder(root).scan(".png")
    assert [file.name for file in listing.files] == [
        "a/1.png",
        "b/c/2.png",
        "d/3.png",
        "d/e/4.png",
    ]
    skipped = ["a/all", "a/sideways", "again", "b/c/self", "d/back", "d/up", "disk", "z"]
    assert sorted(listing.skipped_links) == skipped and listing.unreadable == []
    (tmp_path / "link").symlink_to(root)
    assert names(tmp_path / "link", ".png") == names(root, ".png")


def test_a_folder_that_cannot_be_listed_is_no_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a/1.png", "b/2.png", "b/3.png", "c/4.png")
    scan = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("/b"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(storage.os, "scandir", refuse)
    listing = Folder(tmp_path).scan(".png")
    assert [file.name for file in listing.files] == ["a/1.png", "c/4.png"]
    assert listing.unreadable == [Unreadable("b/", "cannot be listed: Permission denied")]
    fill(tmp_path, "c/5.png")
    config = ImageFolderConfig(root=str(tmp_path), size=32)
    # A whole class may lie in the folder, so no number of rejected files allows it.
    with pytest.raises(PermissionError, match="/b/ cannot be listed: Permission denied"):
        prepare(config, Folder(tmp_path / "out"), max_rejected=1)
    with pytest.raises(PermissionError):
        Folder(tmp_path / "b").files()
    assert Folder(tmp_path / "nowhere").files() == []


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A named pipe would keep its reader waiting, and opening a device can have effects."""
    fill(tmp_path, "good.png", "folder.png/x.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "dangling.png").symlink_to("nowhere")
    (tmp_path / "loop.png").symlink_to("loop.png")
    folder = Folder(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        assert folder.read("good.png") == png("good.png")
        for name, reason in (
            ("pipe.png", "a named pipe and no regular file"),
            ("socket.png", "a socket and no regular file"),
            ("device.png", "a device and no regular file"),
            ("folder.png", "it is a folder"),
            ("dangling.png", "No such file"),
            ("loop.png", "Too many levels of symbolic links"),
        ):
            for read in (folder.read, folder.sha256, folder.open):
                with pytest.raises(OSError, match=f"{reason}.*{name}"):
                    read(name)
        with pytest.raises(OSError, match="has 2 bytes; at most 1 are read.*two"):
            (tmp_path / "two").write_bytes(b"ab")
            folder.read("two", limit=1)


def test_a_pipe_that_replaces_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file changes after it was looked at and before it is opened."""
    os.mkfifo(tmp_path / "pipe.png")
    fill(tmp_path, "good.png")
    stat = os.stat(tmp_path / "good.png")
    monkeypatch.setattr(storage.os, "stat", lambda _: stat)
    with pytest.raises(OSError, match="a named pipe"):
        Folder(tmp_path).read("pipe.png")


def test_a_tree_of_all_of_these_is_prepared(tmp_path: Path) -> None:
    root, out = tmp_path / "raw", tmp_path / "out"
    fill(root, *(f"cats/{number}.png" for number in range(6)), f"cats/{LATIN}", "cats/a\nb\\.png")
    fill(root, *(f"{DOGS}/{number}.png" for number in range(6)))
    os.mkfifo(root / "cats" / "pipe.png")
    (root / "cats" / "dangling.png").symlink_to("nowhere")
    (root / "cats" / "all").symlink_to("..")
    (root / "cats" / "text.png").write_bytes(b"no picture")
    (root / "cats" / "zeros.png").symlink_to("/dev/zero")
    config = ImageFolderConfig(root=str(root), size=32)
    notes: list[str] = []
    manifest = prepare(
        config,
        Folder(out),
        0.5,
        on_plan=lambda source, *_: notes.extend(source.notes),
    )
    assert (manifest.rows_in, manifest.rejected) == (18, 4)
    assert manifest.label_names == ("cats", r"h\xfcnde")
    assert notes[1] == (
        "image_folder: 1 links to folders are passed over, because they lead to a folder that is "
        "read already, or back to one that holds them: cats/all."
    )
    assert (out / "_rejected.csv").read_text() == (
        "name,reason\n"
        "cats/dangling.png,cannot be read: No such file or directory\n"
        "cats/pipe.png,cannot be read: it is a named pipe and no regular file\n"
        'cats/text.png,"not an image of a known format (AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF, '
        'WEBP)"\n'
        "cats/zeros.png,cannot be read: it is a device and no regular file\n"
    )
    read = [
        name
        for shard in manifest.shards
        for name in pq.read_table(out / shard.file).column("name").to_pylist()
    ]
    assert {r"cats/caf\xe9.png", r"cats/a\x0ab\\.png", r"h\xfcnde/0.png"} <= set(read)
    assert all((root / unescape_name(name)).is_file() for name in read)
    splits = open_shards(Folder(out), tmp_path / "cache")
    assert len(splits.train.images) == manifest.rows("train")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain name.png", "plain name.png"),
        ("Zoë 猫\u3000.png".encode(), "Zoë 猫\u3000.png"),
        (b"caf\xe9", r"caf\xe9"),
        (rb"caf\xe9", r"caf\\xe9"),
        (b"a\nb\x1b[31m\x7f", r"a\x0ab\x1b[31m\x7f"),
        ("a\u2028b\u0085".encode(), r"a\xe2\x80\xa8b\xc2\x85"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),
    ],
)
def test_names_are_escaped_without_loss(raw: bytes, text: str) -> None:
    name = os.fsdecode(raw)
    assert escape_name(name) == text and unescape_name(text) == name
    text.encode()


def test_any_bytes_are_escaped_without_loss() -> None:
    generator = np.random.default_rng(0)
    for length in range(500):
        name = os.fsdecode(bytes(generator.choice([*range(1, 256), 92, 92, 120], length).tolist()))
        text = escape_name(name)
        assert unescape_name(text) == name and text.encode().decode() == text
        assert not set(text) & set(map(chr, range(32)))


def test_a_list_names_files_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.png 1\n")
    assert read_partition(Folder(tmp_path), "list.txt") == {LATIN: 1}


def test_a_disk_that_fails_as_a_whole_rejects_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "raw", *(f"{number}.png" for number in range(8)))
    source = ImageFolderConfig(root=str(tmp_path / "raw"), size=32).source()
    broken = OSError(5, "Input/output error")

    def fail(*_: object) -> bytes:
        raise broken

    monkeypatch.setattr(Folder, "read", fail)
    (row,) = source.read("val", 0, 1).rejected
    assert row.reason == "cannot be read: Input/output error"
    monkeypatch.setattr(Folder, "exists", lambda _: False)
    with pytest.raises(OSError, match="Input/output"):
        source.read("val", 0, 1)
    monkeypatch.undo()
    monkeypatch.setattr(Folder, "read", fail)
    broken.errno = 24
    with pytest.raises(OSError, match="Input/output"):  # Too many open files
        source.read("val", 0, 1)


def test_files_that_could_not_be_read_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "raw", *(f"{number}.png" for number in range(8)))
    config = ImageFolderConfig(root=str(tmp_path / "raw"), size=32)
    read = Folder.read

    def refuse(folder: Folder, name: str, limit: int | None = None) -> bytes:
        if name == "3.png":
            raise PermissionError(13, "Permission denied", name)
        return read(folder, name, limit)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "read", refuse)
        with pytest.raises(ValueError, match="1 of 8 files are unusable"):
            prepare(config, Folder(tmp_path / "out"))
    assert prepare(config, Folder(tmp_path / "out")).rejected == 0
