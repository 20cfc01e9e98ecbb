"""Folder, with the few operations that genae needs on a local disk or an object store.

pathlib handles local paths. pyarrow handles s3://, gs:// and all other URIs that its filesystems
can open; it is imported only for them.
"""

import contextlib
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from genae_core.config import require


class FileStat(NamedTuple):
    """A file below a folder.

    Attributes:
        name: Its path relative to the folder, with "/".
        size: Its size in bytes.
        changed: The time of its last change in nanoseconds since 1970; 0 if a store has no times.
    """

    name: str
    size: int
    changed: int


class Folder:
    """The folder at a local path or a URI. The constructor does not access the disk or the store.

    Every method raises OSError, with the name of the file, if the disk, the store or its
    permissions do not allow the operation.

    Args:
        uri: A local path, or a URI such as s3://BUCKET/folder.

    Raises:
        ValueError: The path is empty.
    """

    def __init__(self, uri: str | Path) -> None:
        text = str(uri)
        require(text.strip() != "", "a folder needs a path or a URI", path=text)
        self.local = None if "://" in text else Path(text).expanduser().absolute()
        self.uri = str(self.local) if self.local is not None else text.rstrip("/")
        self._store: tuple[Any, str] | None = None

    def __repr__(self) -> str:
        return f"Folder({self.uri!r})"

    def __reduce__(self) -> tuple[type["Folder"], tuple[str]]:
        return Folder, (self.uri,)  # Each process opens its own connection.

    def __truediv__(self, name: str) -> "Folder":
        return Folder(f"{self.uri}/{name}")

    def path_of(self, name: str) -> str:
        """The path or URI of a file, for messages."""
        return f"{self.uri}/{name}"

    def exists(self, name: str = "") -> bool:
        """Whether the folder holds `name`; without a name, whether the folder itself exists."""
        if self.local is not None:
            return (self.local / name).exists()
        filesystem, base = self._open()
        with _AddFileName(self.path_of(name)):
            info = filesystem.get_file_info(f"{base}/{name}".rstrip("/"))
        return bool(info.type.name != "NotFound")

    def files(self, *endings: str) -> list[FileStat]:
        """List the files below the folder, at any depth, sorted by name.

        Files and folders whose names begin with a dot are left out.

        Args:
            *endings: Lower-case endings. A file is listed if its name ends with one of them, in
                upper or lower case. Without any, all files are listed.

        Returns:
            The files.
        """
        files = self._walk() if self.local is not None else self._list()
        matching = (
            file
            for file in files
            if (not endings or file.name.lower().endswith(endings))
            and not f"/{file.name}".count("/.")
        )
        return sorted(matching)

    def read(self, name: str) -> bytes:
        """Read the content of a file."""
        if self.local is not None:
            with open(self.path_of(name), "rb", buffering=0) as file:
                return file.read()
        filesystem, base = self._open()
        with (
            _AddFileName(self.path_of(name)),
            filesystem.open_input_stream(f"{base}/{name}") as stream,
        ):
            content: bytes = stream.read()
        return content

    def sha256(self, name: str) -> str:
        """The sha256 (hex) of a file, whose content is read piece by piece."""
        digest = hashlib.sha256()
        with self.open(name) as stream:
            while piece := stream.read(2**20):
                digest.update(piece)
        return digest.hexdigest()

    def open(self, name: str) -> Any:
        """Open a file as a pyarrow file, which reads bytes at any position."""
        if self.local is not None:
            import pyarrow

            return pyarrow.OSFile(str(self.local / name), "rb")
        filesystem, base = self._open()
        with _AddFileName(self.path_of(name)):
            return filesystem.open_input_file(f"{base}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Write a file. Other processes see it completely or not at all."""
        with self.open_to_write(name) as file:
            file.write(content)

    @contextlib.contextmanager
    def open_to_write(self, name: str) -> Iterator["FileWriter"]:
        """Open a file that is written piece by piece while a `with` block runs.

        Other processes see the file after the block, completely or not at all.
        """
        full_path = self.path_of(name)
        if self.local is None:
            buffer = io.BytesIO()  # A stream to a store would leave half a file after an error.
            yield FileWriter(buffer, full_path)
            filesystem, base = self._open()
            with (
                _AddFileName(full_path),
                filesystem.open_output_stream(f"{base}/{name}") as stream,
            ):
                stream.write(buffer.getbuffer())
            return
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with scratch.open("wb") as file:
                yield FileWriter(file, full_path)
                with _AddFileName(full_path):
                    file.flush()
                    os.fsync(file.fileno())
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise

    def delete(self, name: str = "") -> None:
        """Delete a file or a folder with its content; without a name, this folder.

        If there is no such file or folder, nothing happens.
        """
        if self.local is not None:
            path = self.local / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            return
        filesystem, base = self._open()
        full_path = f"{base}/{name}".rstrip("/")
        with _AddFileName(self.path_of(name)):
            kind = filesystem.get_file_info(full_path).type.name
            if kind == "File":
                filesystem.delete_file(full_path)
            elif kind == "Directory":
                filesystem.delete_dir(full_path)

    def delete_unfinished(self) -> None:
        """Delete the incomplete files of processes that were killed while they wrote.

        An object store has no such files.
        """
        for path in self.local.rglob(".*") if self.local is not None else ():
            if path.suffix[1:].isdigit() and path.is_file():
                path.unlink()

    def free_bytes(self) -> int | None:
        """The number of free bytes on the folder's disk; None for an object store."""
        if self.local is None:
            return None
        above = next(path for path in (self.local, *self.local.parents) if path.exists())
        return shutil.disk_usage(above).free

    def _walk(self) -> Iterator[FileStat]:
        """The files below a local folder."""
        assert self.local is not None
        above = len(self.uri.rstrip("/")) + 1
        for parent, folders, names in os.walk(self.uri, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = f"{parent}/{name}"  # Path objects of a million files would take long.
                try:
                    stat = os.stat(path)
                except FileNotFoundError:  # A broken link counts as a file that cannot be read.
                    stat = os.lstat(path)
                yield FileStat(path[above:], stat.st_size, stat.st_mtime_ns)

    def _list(self) -> Iterator[FileStat]:
        """The files below a folder of an object store."""
        from pyarrow.fs import FileSelector, FileType

        filesystem, base = self._open()
        with _AddFileName(self.uri):
            listed = filesystem.get_file_info(
                FileSelector(base, allow_not_found=True, recursive=True)
            )
        for file in listed:
            if file.type == FileType.File:
                name = file.path.removeprefix(f"{base}/")
                yield FileStat(name, file.size, file.mtime_ns or 0)

    def _open(self) -> tuple[Any, str]:
        """pyarrow's filesystem for the URI, and the folder's path in it."""
        if self._store is None:
            from pyarrow.fs import FileSystem

            try:
                filesystem, base = FileSystem.from_uri(self.uri)
            except (ValueError, OSError) as error:
                raise ValueError(
                    f"{self.uri}: expected a local path, s3://BUCKET/... or gs://BUCKET/...: "
                    f"{error}"
                ) from None
            self._store = filesystem, base.rstrip("/")
        return self._store


class FileWriter:
    """A file that is being written, with its size in bytes and its digest so far.

    It has the methods that pyarrow needs.
    """

    closed = False

    def __init__(self, file: IO[bytes], full_path: str) -> None:
        self.file = file
        self.full_path = full_path
        self.bytes = 0
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        """Append bytes and return their number."""
        with _AddFileName(self.full_path):
            count = self.file.write(content)
        self.bytes += count
        self.digest.update(content)
        return count

    def tell(self) -> int:
        """The number of bytes written so far."""
        return self.bytes

    def flush(self) -> None:
        """Do nothing: `Folder.writing` flushes the file."""


class _AddFileName:
    """A context that adds the name of the file to an OSError, if the error lacks it as many of
    pyarrow's do."""

    def __init__(self, full_path: str) -> None:
        self.full_path = full_path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError) and error.filename is None:
            raise type(error)(f"{self.full_path}: {error}") from None
