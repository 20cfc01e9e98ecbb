"""Only the formats that start no program are read, whatever a file is called."""

import contextlib
import itertools
import os
import subprocess
import warnings
import zlib
from pathlib import Path

import pytest
from contracts.pictures import encode, paint, seed_files
from PIL import Image

from genae_core.data.decoding_process import DECODING
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.images import decode
from genae_core.data.pillow_decoding import FORMATS, read_square

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 100 100
%%EndComments
(ran) (w) file closefile { } loop
%%EOF
"""
# Files of formats that Pillow opens and does not write.
OTHERS = {
    "BUFR": b"BUFR" + bytes(100),
    "CUR": b"\0\0\2\0\1\0\x20\x20\0\0\0\0\0\0" + bytes(100),
    "FITS": b"SIMPLE  =                    T" + bytes(2_880),
    "FLI": bytes(4) + b"\x11\xaf" + bytes(200),
    "FTEX": b"FTEX" + bytes(100),
    "GBR": bytes(3) + b"\x1c\0\0\0\2" + bytes(100),
    "GRIB": b"GRIB\0\0\0\1" + bytes(100),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "IPTC": b"\x1c\x01" + bytes(100),
    "MCIDAS": bytes(7) + b"\4" + bytes(300),
    "MPEG": b"\0\0\1\xb3" + bytes(100),
    "PCD": bytes(2_048) + b"PCD_" + bytes(2_000),
    "PIXAR": b"\x80\xe8\0\0" + bytes(600),
    "PSD": b"8BPS\0\1" + bytes(100),
    "SUN": b"\x59\xa6\x6a\x95" + bytes(100),
    "WMF": b"\xd7\xcd\xc6\x9a\0\0" + bytes(100),
    "XPM": b"/* XPM */" + bytes(100),
    "XVTHUMB": b"P7 332\n#END_OF_COMMENTS\n4 4 255\n" + bytes(16),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "MVG": b"push graphic-context\nviewbox 0 0 9 9\nimage over 0,0 0,0 'https://x/`touch ran`'\n",
}


def other_files() -> dict[str, bytes]:
    """A file of each format that Pillow knows and that is not read, by the format's name."""
    Image.init()
    files = {"EPS": EPS, **OTHERS}
    kinds = sorted(set(Image.SAVE) - {*FORMATS, "MPO"})
    for kind, mode in itertools.product(kinds, ("RGB", "L", "1", "P", "RGBA")):
        if kind in files:
            continue
        with (
            contextlib.suppress(OSError, ValueError, KeyError, TypeError),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", DeprecationWarning)  # Some formats are old.
            files[kind] = encode(paint(1).convert(mode), kind)
    return files


FILES = other_files()


def forbid(*_: object, **__: object) -> None:
    raise AssertionError("a program was started")


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every way of starting a program fail."""
    for name in ("run", "call", "check_call", "check_output", "Popen"):
        monkeypatch.setattr(subprocess, name, forbid)
    for name in ("system", "popen", "posix_spawn", "posix_spawnp", "fork", "execv", "execve"):
        monkeypatch.setattr(os, name, forbid)


def test_most_formats_of_pillow_are_tried() -> None:
    known = {*Image.OPEN, *Image.SAVE} - {*FORMATS, "MPO"}
    assert len(known & set(FILES)) >= 0.8 * len(known), known - set(FILES)


@pytest.mark.parametrize("kind", FILES)
def test_another_format_is_refused_and_starts_no_program(kind: str, no_programs: None) -> None:
    DECODING.stop()  # so that decoding would have to start a process
    reason = r"not an image of a known format \(AVIF, BMP, GIF|not a whole image"
    for content in (FILES[kind], FILES[kind] + bytes(600)):
        with pytest.raises(ValueError, match=reason):
            read_square(content, 1.0, 10**8)
        with pytest.raises(ValueError, match=reason):
            decode(content, 32, 1.0)


def test_under_any_name_it_is_a_rejected_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also inside a file of another format; and a good picture beside it is read."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("gs", "gswin32c", "gswin64c", "netpbm", "djpeg", "ppmquant", "ppmtogif"):
        (programs / name).write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    subprocess.run(["gs"], check=True)  # The programs are those that would be started.
    (tmp_path / "ran").unlink()
    DECODING.stop()  # The next one has this PATH.
    root = tmp_path / "raw"
    root.mkdir()
    endings = ("png", "jpg", "jpeg", "gif", "bmp", "tif", "tiff", "webp")
    for number, (kind, content) in enumerate(FILES.items()):
        (root / f"{kind}.{endings[number % len(endings)]}").write_bytes(content)
    for ending in endings:
        (root / f"script.{ending}").write_bytes(EPS)
    # The thumbnail of a Photoshop file and the preview of a PDF are such pictures inside others.
    for name, content in seed_files().items():
        (root / f"inside-{name.replace('.', '-')}.png").write_bytes(content[:20] + EPS)
    names = {path.name for path in root.iterdir()}
    (root / "good.png").write_bytes(encode(paint(1), "PNG"))
    source = ImageFolderConfig(root=str(root), size=32).source()
    rows = [source.read(split, 0, count) for split, count in source.counts.items()]
    assert {row.name for part in rows for row in part.rejected} == names
    assert [name for part in rows for name in part.names] == ["good.png"]
    assert not (tmp_path / "ran").exists() and not Path("ran").exists()


def test_each_format_that_is_read_starts_no_program(no_programs: None) -> None:
    for content in seed_files().values():
        assert read_square(content, 1.0, 10**8).pixels


def test_a_plain_jpeg_starts_no_process(no_programs: None) -> None:
    DECODING.stop()
    assert decode(seed_files()["plain.jpg"], 32, 1.0).shape == (40, 40, 3)


def test_a_picture_without_pixels_is_refused() -> None:
    png, bmp = seed_files()["plain.png"], seed_files()["plain.bmp"]
    for width, height in ((0, 0), (0, 9), (9, 0)):
        header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + png[24:29]
        checksum = zlib.crc32(header).to_bytes(4, "big")
        size = width.to_bytes(4, "little") + height.to_bytes(4, "little")
        for content in (png[:12] + header + checksum + png[33:], bmp[:18] + size + bmp[26:]):
            with pytest.raises(ValueError, match="a picture has at least one|not a"):
                read_square(content, 1.0, 10**8)
