"""Folder, with the few operations that genae needs on a local disk or an object store.

pathlib handles local paths. pyarrow handles s3://, gs:// and all other URIs that its filesystems
can open; it is imported only for them.
"""

import contextlib
import errno
import hashlib
import io
import os
import shutil
import stat
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from genae_core.config.places import is_uri, locate, split_uri
from genae_core.config.redaction import drop_redacted_login, is_redacted, redact, redact_uri
from genae_core.data import durable
from genae_core.data.endpoint import check_endpoint


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


class Unreadable(NamedTuple):
    """A folder below a folder that cannot be listed, and why."""

    name: str
    reason: str


class Listing(NamedTuple):
    """What lies below a folder. All names are relative to it, with "/".

    Attributes:
        files: The files, sorted by name. A link to a file is a file, and so is everything that is
            no folder, such as a named pipe; only `Folder.read` says whether it can be read.
        skipped_links: The links to folders that are passed over, because they lead to a folder
            that is listed already or to one that contains the link.
        unreadable: The folders that cannot be listed.
        hidden: The files and folders whose names begin with a dot; of a hidden folder, only
            itself, with a last "/".
    """

    files: list[FileStat]
    skipped_links: list[str]
    unreadable: list[Unreadable]
    hidden: list[str]


class Folder:
    """The folder at a local path or a URI. The constructor changes nothing on a disk or a store.

    Every method raises OSError, with the name of the file, if the disk, the store or its
    permissions do not allow the operation.

    Args:
        uri: A local path, or a URI such as s3://BUCKET/folder or file:///tmp/a%20b. The URI of a
            store may have options of its pyarrow filesystem, such as ?region=eu-west-1.

    Attributes:
        uri: The path or the URI without its password, for messages and for what is stored.
        address: The path or the URI as it is opened. It may hold a password.

    Raises:
        ValueError: The path is empty or names no place; see `config.places.locate`.
    """

    def __init__(self, uri: str | Path) -> None:
        # With its password, which only the library that opens the store may see.
        self.address = locate(uri, "a folder")
        self.local = None if is_uri(self.address) else Path(self.address)
        self.uri = self.address if self.local is not None else redact_uri(self.address)
        self._store: tuple[Any, str] | None = None

    def __repr__(self) -> str:
        return f"Folder({self.uri!r})"

    def __reduce__(self) -> tuple[type["Folder"], tuple[str]]:
        return Folder, (self.address,)  # Each process opens its own connection.

    def __truediv__(self, name: str) -> "Folder":
        return Folder(self._join(self.address, name))

    def path_of(self, name: str) -> str:
        """The path or URI of a file, without a password."""
        return self._join(self.uri, name)

    def _join(self, base: str, name: str) -> str:
        """The path or URI of a file below this folder, which is spelled `base`."""
        return f"{base}/{name}" if self.local is not None else split_uri(base).join(name)

    def check_answers(self) -> None:
        """Check that the store answers. Nothing happens for a local folder.

        Raises:
            ConnectionError: The server of the store does not answer within some seconds.
            ValueError: No store can be opened at the URI.
        """
        if self.local is None:
            self._open()

    def exists(self, name: str = "") -> bool:
        """Whether the folder holds `name`; without a name, whether the folder itself exists."""
        if self.local is not None:
            return (self.local / name).exists()
        filesystem, base = self._open()
        with _AddFileName(self.path_of(name)):
            info = filesystem.get_file_info(f"{base}/{name}".rstrip("/"))
        return bool(info.type.name != "NotFound")

    def check_writable(self) -> None:
        """Check, before long work, that the folder can be made and written. Nothing is changed.

        Raises:
            ValueError: It cannot. An object store is not asked.
        """
        if self.local is None:
            return
        if self.local.is_symlink() and not self.local.exists():
            raise ValueError(
                f"{self.uri} is a link to {os.readlink(self.local)}, which does not exist: make "
                "that folder first, or choose another one"
            )
        above = self._existing()
        if not above.is_dir():
            raise ValueError(f"{above} is a file and no folder: choose another folder")
        if not os.access(above, os.W_OK | os.X_OK):
            raise ValueError(f"{above} cannot be written: change it, or choose another folder")

    def files(self, *endings: str) -> list[FileStat]:
        """List the files below the folder, as in `scan`."""
        return self.scan(*endings).files

    def scan(self, *endings: str) -> Listing:
        """List what lies below the folder, at any depth.

        Files and folders whose names begin with a dot are left out. Links to folders are followed,
        and each real folder is listed once.

        Args:
            *endings: Lower-case endings. A file is listed if its name ends with one of them, in
                upper or lower case. Without any, all files are listed.

        Returns:
            The files, and what was passed over.
        """
        listing = self._walk() if self.local is not None else self._list()
        matching = (
            file for file in listing.files if not endings or file.name.lower().endswith(endings)
        )
        return listing._replace(files=sorted(matching))

    def children(self) -> tuple[list[str], list[str]]:
        """The names of the folders and of the files that lie directly in the folder, sorted.

        Hidden ones are left out.
        """
        if self.local is not None:
            with os.scandir(self.local) as entries:
                pairs = [(entry.name, entry.is_dir()) for entry in entries]
        else:
            from pyarrow.fs import FileSelector, FileType

            filesystem, base = self._open()
            with _AddFileName(self.uri):
                infos = filesystem.get_file_info(FileSelector(base, allow_not_found=True))
            pairs = [(info.base_name, info.type == FileType.Directory) for info in infos]
        visible = sorted(pair for pair in pairs if not pair[0].startswith("."))
        return (
            [name for name, is_folder in visible if is_folder],
            [name for name, is_folder in visible if not is_folder],
        )

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Read the content of a file.

        Raises OSError if the file has more than `limit` bytes, or if it is no regular file but,
        for example, a named pipe, which could keep its reader waiting for ever.
        """
        if self.local is not None:
            with _open_regular(self.path_of(name)) as file:
                _check_length(os.fstat(file.fileno()).st_size, limit, self.path_of(name))
                return file.read()
        filesystem, base = self._open()
        with (
            _AddFileName(self.path_of(name)),
            filesystem.open_input_file(f"{base}/{name}") as stream,
        ):
            _check_length(stream.size(), limit, self.path_of(name))
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

            _open_regular(self.path_of(name)).close()
            return pyarrow.OSFile(self.path_of(name), "rb")
        filesystem, base = self._open()
        with _AddFileName(self.path_of(name)):
            return filesystem.open_input_file(f"{base}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Write a file. Other processes, and this one after a power cut, see it completely or
        not at all."""
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
        durable.make_folder(path.parent)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with scratch.open("wb") as file:
                yield FileWriter(file, full_path)
                with _AddFileName(full_path):
                    file.flush()
            durable.publish(scratch, path)
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
        return shutil.disk_usage(self._existing()).free

    def _existing(self) -> Path:
        """The local folder, or the closest one above it that exists."""
        assert self.local is not None
        return next(path for path in (self.local, *self.local.parents) if path.exists())

    def _walk(self) -> Listing:
        """What lies below a local folder."""
        assert self.local is not None
        listing = Listing([], [], [], [])
        root = _Place("", os.path.realpath(self.uri))
        visited: set[str] = set()  # the real paths
        folders, links = [root], deque[_Place]()
        # The links wait until all folders are listed, so a folder is listed under its own name.
        while folders or links:
            place = folders.pop() if folders else links.popleft()
            if place.real in visited or place.holds(root.real) or place.holds(place.parent):
                listing.skipped_links.append(place.name)
                continue
            visited.add(place.real)
            try:
                entries = _scan(str(self.local / place.name))
            except OSError as error:
                if place is not root:
                    reason = f"cannot be listed: {error.strerror or error}"
                    listing.unreadable.append(Unreadable(f"{place.name}/", reason))
                elif not isinstance(error, FileNotFoundError | NotADirectoryError):
                    raise
                continue
            for entry in entries:
                name = f"{place.name}/{entry.name}".lstrip("/")
                if entry.name.startswith("."):
                    listing.hidden.append(f"{name}/" if _is_folder(entry) else name)
                elif not _is_folder(entry):
                    listing.files.append(_stat(entry, name))
                elif entry.is_symlink():
                    links.append(_Place(name, os.path.realpath(entry.path), place.real))
                else:
                    folders.append(_Place(name, os.path.join(place.real, entry.name)))
        return listing

    def _list(self) -> Listing:
        """What lies below a folder of an object store."""
        from pyarrow.fs import FileSelector, FileType

        filesystem, base = self._open()
        with _AddFileName(self.uri):
            listed = filesystem.get_file_info(
                FileSelector(base, allow_not_found=True, recursive=True)
            )
        files = [
            FileStat(file.path.removeprefix(f"{base}/"), file.size, file.mtime_ns or 0)
            for file in listed
            if file.type == FileType.File
        ]
        hidden = {file.name: _hidden_part(file.name) for file in files}
        return Listing(
            [file for file in files if hidden[file.name] is None],
            [],
            [],
            sorted({part for part in hidden.values() if part is not None}),
        )

    def _open(self) -> tuple[Any, str]:
        """pyarrow's filesystem for the URI, and the folder's path in it."""
        if self._store is None:
            from pyarrow.fs import FileSystem

            address = drop_redacted_login(self.address)
            check_endpoint(address)
            try:
                filesystem, base = FileSystem.from_uri(split_uri(address).quote())
            except (ValueError, OSError, NotImplementedError) as error:
                raise ValueError(
                    f"{self.uri}: expected a local path, s3://BUCKET/... or gs://BUCKET/...: "
                    f"{redact(str(error))}"
                ) from error
            if is_redacted(self.address):
                self._check_access(filesystem, base)
            self._store = filesystem, base.rstrip("/")
        return self._store

    def _check_access(self, filesystem: Any, base: str) -> None:
        """Raise ValueError if the environment has no credentials in place of those of a stored
        URI, which are not stored."""
        try:
            filesystem.get_file_info(base)
        except OSError as error:
            raise ValueError(
                f"{self.uri} was stored without its password, and the environment has no "
                "credentials that open it: give the whole address again (--data-root), or set "
                f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: {redact(str(error))}"
            ) from error


class _Place(NamedTuple):
    """A folder on the way through a tree.

    Attributes:
        name: Its path relative to the root of the tree.
        real: Its path without links.
        parent: For a link, the real path of the folder that holds the link.
    """

    name: str
    real: str
    parent: str = ""

    def holds(self, path: str) -> bool:
        """Whether a real path lies below this folder."""
        return path.startswith(f"{self.real.rstrip('/')}/")


def _scan(path: str) -> list[os.DirEntry[str]]:
    """The entries of a local folder, sorted by name."""
    with os.scandir(path) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _hidden_part(name: str) -> str | None:
    """The first part of a path whose name begins with a dot, with "/" if it is a folder."""
    position = f"/{name}".find("/.")
    if position < 0:
        return None
    end = name.find("/", position)
    return name if end < 0 else name[: end + 1]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or leads to one. A link that leads nowhere does not."""
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def _stat(entry: os.DirEntry[str], name: str) -> FileStat:
    """The size and the time of a file; of the link itself, if it leads nowhere."""
    for follow_symlinks in (True, False):
        with contextlib.suppress(OSError):
            info = entry.stat(follow_symlinks=follow_symlinks)
            return FileStat(name, info.st_size, info.st_mtime_ns)
    return FileStat(name, 0, 0)  # Another process has deleted it; reading it will say so.


def _open_regular(path: str) -> IO[bytes]:
    """Open a local file to read. Raises OSError if it is no regular file.

    Opening a named pipe would wait for a writer, and opening a device can have effects.
    """
    _check_regular(os.stat(path), path)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # The file may have changed since.
    file = open(os.open(path, flags), "rb", buffering=0)
    try:
        _check_regular(os.fstat(file.fileno()), path)
    except OSError:
        file.close()
        raise
    return file


def _check_regular(info: os.stat_result, path: str) -> None:
    """Raise OSError if a file is a folder, a named pipe, a socket or a device."""
    if stat.S_ISDIR(info.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", path)
    if not stat.S_ISREG(info.st_mode):
        kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(info.st_mode), "a device")
        raise OSError(errno.EINVAL, f"it is {kind} and no regular file", path)


def _check_length(length: int, limit: int | None, path: str) -> None:
    """Raise OSError if a file is too long."""
    if limit is not None and length > limit:
        message = f"it has {length:,} bytes; at most {limit:,} are read"
        raise OSError(errno.EFBIG, message, path)


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
    """A context that raises an error of pyarrow as an OSError with the name of the file.

    Many of pyarrow's OSErrors lack the name, and its other errors are of many kinds.
    """

    def __init__(self, full_path: str) -> None:
        self.full_path = full_path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError) and error.filename is None:
            raise type(error)(f"{self.full_path}: {redact(str(error))}") from None
        if isinstance(error, Exception) and type(error).__module__.startswith("pyarrow"):
            raise OSError(f"{self.full_path}: {redact(str(error))}") from error
