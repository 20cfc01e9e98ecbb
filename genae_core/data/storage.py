"""Folder: the few operations that genae needs of a local disk or an object store.

Local paths go through pathlib. s3://, gs:// and every other URI that pyarrow's filesystems open
go through pyarrow, which is imported only then.
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

    name: relative to the folder, with "/". size: in bytes. changed: the time of the last change
    in nanoseconds since 1970, 0 if a store does not say.
    """

    name: str
    size: int
    changed: int


class Folder:
    """The folder at a local path or a URI; creating the object touches neither disk nor store.

    Every method raises OSError, which names the file, if the disk, the store or its permissions
    refuse.

    Args:
        uri: A local path, or a URI such as s3://BUCKET/folder.

    Raises:
        ValueError: If the path is empty.
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
        return Folder, (self.uri,)  # each process opens its own connection

    def __truediv__(self, name: str) -> "Folder":
        return Folder(f"{self.uri}/{name}")

    def path_of(self, name: str) -> str:
        """The file's path or URI, for messages."""
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
        """The files below the folder, at any depth, sorted by name.

        endings: lower-case endings of names, compared without regard to case; without any, all
        files count. Files and folders whose names begin with a dot are left out.
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
        """The file's content."""
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
        """sha256 (hex) of the file's content, which is read piece by piece."""
        digest = hashlib.sha256()
        with self.open(name) as stream:
            while piece := stream.read(2**20):
                digest.update(piece)
        return digest.hexdigest()

    def open(self, name: str) -> Any:
        """The file as a pyarrow file that reads bytes at any position."""
        if self.local is not None:
            import pyarrow

            return pyarrow.OSFile(str(self.local / name), "rb")
        filesystem, base = self._open()
        with _AddFileName(self.path_of(name)):
            return filesystem.open_input_file(f"{base}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Write the file; readers see it whole or not at all."""
        with self.open_to_write(name) as file:
            file.write(content)

    @contextlib.contextmanager
    def open_to_write(self, name: str) -> Iterator["FileWriter"]:
        """Open a file to write piece by piece; readers see it at the end, whole or not at all."""
        where = self.path_of(name)
        if self.local is None:
            buffer = io.BytesIO()  # a store's stream would show half a file after an error
            yield FileWriter(buffer, where)
            filesystem, base = self._open()
            with _AddFileName(where), filesystem.open_output_stream(f"{base}/{name}") as stream:
                stream.write(buffer.getbuffer())
            return
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with scratch.open("wb") as file:
                yield FileWriter(file, where)
                with _AddFileName(where):
                    file.flush()
                    os.fsync(file.fileno())
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise

    def delete(self, name: str = "") -> None:
        """Remove a file or a folder with its content, by default this folder.

        Nothing happens if there is no such file or folder.
        """
        if self.local is not None:
            path = self.local / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            return
        filesystem, base = self._open()
        where = f"{base}/{name}".rstrip("/")
        with _AddFileName(self.path_of(name)):
            kind = filesystem.get_file_info(where).type.name
            if kind == "File":
                filesystem.delete_file(where)
            elif kind == "Directory":
                filesystem.delete_dir(where)

    def delete_unfinished(self) -> None:
        """Remove the half-written files of processes that were killed while `writing`.

        An object store has no such files.
        """
        for path in self.local.rglob(".*") if self.local is not None else ():
            if path.suffix[1:].isdigit() and path.is_file():
                path.unlink()

    def free_bytes(self) -> int | None:
        """The free bytes of the disk under the folder; None for an object store."""
        if self.local is None:
            return None
        above = next(path for path in (self.local, *self.local.parents) if path.exists())
        return shutil.disk_usage(above).free

    def _walk(self) -> Iterator[FileStat]:
        """The files below a local folder."""
        assert self.local is not None
        above = len(self.uri.rstrip("/")) + 1
        for where, folders, names in os.walk(self.uri, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:  # as strings: Paths of a million files would take long
                path = f"{where}/{name}"
                try:
                    about = os.stat(path)
                except FileNotFoundError:  # a broken link counts as a file, whose reading fails
                    about = os.lstat(path)
                yield FileStat(path[above:], about.st_size, about.st_mtime_ns)

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
    """A file that is being written, with its size in bytes and its checksum so far.

    It has the methods that pyarrow expects of a file.
    """

    closed = False

    def __init__(self, file: IO[bytes], where: str) -> None:
        self.file = file
        self.where = where
        self.bytes = 0
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        """Append bytes; returns their number."""
        with _AddFileName(self.where):
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
    """A context that adds the file to an OSError, since pyarrow's errors often lack its name."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError) and error.filename is None:
            raise type(error)(f"{self.where}: {error}") from None
