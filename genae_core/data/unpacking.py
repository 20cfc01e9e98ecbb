"""Unpacking of compressed files, within a limit: a file of 2 MB may unpack to gigabytes."""

import gzip
import io
import zipfile
import zlib

PIECE = 2**20
# Pictures rarely shrink to a fifth. A file of constant bytes shrinks to a thousandth.
MAX_GROWTH = 100
ALWAYS_ALLOWED = 64 * 2**20  # bytes


def unpack_gzip(content: bytes, path: str) -> bytearray:
    """Unpack the content of a gzip file. `path` is for messages.

    Raises ValueError if it is incomplete, or if it unpacks to more than MAX_GROWTH times its size.
    """
    unpacked = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while piece := file.read(PIECE):
                unpacked += piece
                check_growth(len(unpacked), len(content))
    except (EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is not a whole gzip file that is read: {error}") from None
    return unpacked


def check_zip(content: bytes) -> None:
    """Check how much the files of a zip archive unpack to.

    Raises ValueError if it is too much, and BadZipFile if it is no archive.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # Reading stops at the size that the archive announces.
        check_growth(sum(entry.file_size for entry in archive.infolist()), len(content))


def check_growth(unpacked: int, packed: int) -> None:
    """Raise ValueError if so many packed bytes unpack to too many."""
    if unpacked > max(ALWAYS_ALLOWED, MAX_GROWTH * packed):
        raise ValueError(
            f"it has {packed:,} bytes and unpacks to more than {MAX_GROWTH} times as many; if "
            "they are meant, unpack the file yourself"
        )
