"""Writing to a local disk in such a way that a power cut loses nothing that counts as done.

A file that was written and closed may lie in memory only, and its new name may reach the disk
before its content does. So whatever counts as done is written under another name, synced, renamed,
and then the folder with the new name is synced. Only after that may the caller delete what it
replaces. This module is the only one that renames.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

# Some network disks cannot sync a folder. They write the names of files at once.
CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)


def write(path: Path, content: str | bytes) -> None:
    """Write a file. After a kill or a power cut it has its old content or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        publish(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def publish(partial: Path, final: Path) -> None:
    """Give a finished file or folder its final name.

    A file replaces another file of that name. A folder replaces nothing: if there is a folder of
    that name that is not empty, this raises OSError.
    """
    sync(partial)
    os.replace(partial, final)
    sync_folder(final.parent)


def make_folder(path: Path) -> None:
    """Make a folder, and the folders above it, if they are missing."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def sync(path: Path) -> None:
    """Wait until a file, or a folder with everything in it, is on the disk."""
    if path.is_symlink():  # What it points to belongs to someone else.
        return
    if path.is_dir():
        for child in path.iterdir():
            sync(child)
        sync_folder(path)
    else:
        _sync(path)


def sync_below(top: Path, files: Iterable[Path]) -> None:
    """Wait until files below a folder, and the folders between, are on the disk."""
    folders: set[Path] = set()
    for file in files:
        sync(file)
        folders |= {above for above in file.parents if above.is_relative_to(top)}
    for folder in sorted(folders, reverse=True):
        sync_folder(folder)


def sync_folder(path: Path) -> None:
    """Wait until the names of the files in a folder are on the disk."""
    try:
        _sync(path)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(handle)
