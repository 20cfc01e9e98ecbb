"""Unpacking of compressed files, within a limit: a file of 2 MB may unpack to gigabytes."""

import contextlib
import gzip
import io
import struct
import zlib
from collections.abc import Iterator

PIECE = 2**20
# Pictures rarely shrink to a fifth. A file of constant bytes shrinks to a thousandth.
MAX_GROWTH = 100
ALWAYS_ALLOWED = 64 * 2**20  # bytes
MAT_HEADER, MAT_COMPRESSED = 128, 15  # of the MATLAB 5 format: its bytes, and a type of element


def unpack_gzip(content: bytes, path: str) -> bytearray:
    """Unpack the content of a gzip file. `path` is for messages.

    Raises ValueError if it is incomplete, or if it unpacks to more than MAX_GROWTH times its size.
    """
    unpacked = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while piece := file.read(PIECE):
                unpacked += piece
                _check_growth(len(unpacked), len(content), path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from None
    return unpacked


def check_mat(content: bytes, path: str) -> None:
    """Check how much the compressed variables of a MATLAB 5 file unpack to.

    Raises ValueError if it is more than MAX_GROWTH times the size of the file. Other defects are
    left to the reader of the file.
    """
    order = ">" if content[126:128] == b"MI" else "<"
    position, unpacked = MAT_HEADER, 0
    while position + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, position)
        position += 8
        if kind == MAT_COMPRESSED:
            for length in _inflate(content, position, position + size):
                unpacked += length
                _check_growth(unpacked, len(content), path)
        position += size


def _inflate(content: bytes, start: int, end: int) -> Iterator[int]:
    """Unpack a part of a content, and yield the length of each piece of at most PIECE bytes."""
    inflater = zlib.decompressobj()
    with contextlib.suppress(zlib.error):
        for first in range(start, min(end, len(content)), PIECE):
            packed = content[first : min(end, first + PIECE)]
            while packed and not inflater.eof:
                yield len(inflater.decompress(packed, PIECE))
                packed = inflater.unconsumed_tail


def _check_growth(unpacked: int, packed: int, path: str) -> None:
    """Raise ValueError if a file unpacks to too much."""
    if unpacked > max(ALWAYS_ALLOWED, MAX_GROWTH * packed):
        raise ValueError(
            f"{path} has {packed:,} bytes and unpacks to more than {MAX_GROWTH} times as many; "
            "if they are meant, unpack the file yourself"
        )
