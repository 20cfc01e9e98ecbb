"""The places that a user names: local paths and URIs, made absolute and normalised once.

Every flag, variable and argument that takes a path or a URI passes through `locate`. What is
stored afterwards is absolute, so that it can be read from another working folder.
"""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from genae_core.config.validate import require

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# A question mark begins options only if everything behind it reads as NAME=VALUE&NAME=VALUE. Any
# other question mark is a part of a name.
PAIR = r"[A-Za-z_]+=(?:https?://)?[^&/?]*"
OPTIONS = re.compile(rf"\?(?:{PAIR}&)*{PAIR}\Z")
# SQLAlchemy decodes %XX in the path of a database, and reads a question mark as the begin of
# options. MLflow makes a folder at the path of "sqlite:///" without decoding it, and leaves
# "sqlite+pysqlite:///" alone.
SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///")


class StoreUri(NamedTuple):
    """A URI in its parts.

    Attributes:
        address: Everything before the options.
        options: The options with their question mark, such as "?region=eu-west-1", or nothing.
    """

    address: str
    options: str

    def join(self, name: str) -> str:
        """The URI of a file or folder below this one."""
        for special in "%?#":  # the percent sign first
            name = name.replace(special, quote(special))
        return f"{self.address.rstrip('/')}/{name}{self.options}"

    def quote(self) -> str:
        """The URI with each character quoted that a URI must not hold as it is."""
        address = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", self.address)
        return quote(address, safe="/:@!$&'()*+,;=~%") + self.options


def is_uri(text: str) -> bool:
    """Whether a text is the URI of a store, and not a local path or a file:// URI."""
    scheme = SCHEME.match(text)
    return scheme is not None and scheme[1].lower() != "file"


def locate(place: str | Path, name: str = "path") -> str:
    """Make a local path or a URI absolute, and normalise it.

    A local path has no `~`, `.`, `..` or double slash and no slash at its end afterwards. Links
    are kept, except that `..` behind a link leads where the system would go. A file:// URI becomes
    the local path that it names. A URI of a store keeps its spelling, without dots and without a
    slash at its end.

    Args:
        place: A local path, or a URI such as file:///tmp/a%20b or s3://BUCKET/folder.
        name: What names the place, for the message of an error.

    Returns:
        The absolute path or the URI. `locate` returns it unchanged.

    Raises:
        ValueError: The text is empty, is not UTF-8, or names no place.
    """
    text = str(place)
    require(text.strip() != "", f"{name} must name a folder or a file", place=text)
    if re.match(r"file:/", text, re.IGNORECASE):
        text = _path_of_file_uri(text, name)
    readable = text.encode("utf-8", "replace").decode() == text
    require(readable, f"{name} must be UTF-8, so that it can be stored; rename it", place=text)
    if is_uri(text):
        return _normalise_uri(split_uri(text))
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        user = text.split("/", 1)[0]
        message = f"{name}: there is no user {user[1:]}; write ./{user} for a folder of this name"
        raise ValueError(f"{message}, got {text!r}") from None
    try:
        return str(_resolve_dots(path.absolute()))
    except FileNotFoundError:
        raise ValueError(
            f"{name}: {text!r} is relative to the working folder, which no longer exists"
        ) from None


def local_path(place: str | Path, name: str = "path") -> Path:
    """`locate` for a place that must lie on this machine.

    Raises:
        ValueError: The place is a URI of a store; or as for `locate`.
    """
    located = locate(place, name)
    require(not is_uri(located), f"{name} must be a local path", place=located)
    return Path(located)


def locate_fields(options: Any, *names: str) -> None:
    """Make the places in these fields of a flags' dataclass absolute. None stays None.

    The dataclass calls this in __post_init__, so that every part of a script has the same text. A
    field that holds a Path, or several, must be local.
    """
    for name in names:
        value = getattr(options, name)
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, Path):
            object.__setattr__(options, name, local_path(value, flag))
        elif isinstance(value, tuple):
            object.__setattr__(options, name, tuple(local_path(path, flag) for path in value))
        elif value is not None:
            change = locate_store if name in ("tracking_uri", "optuna_storage") else locate
            object.__setattr__(options, name, change(value, flag))


def is_same_place(one: str, other: str) -> bool:
    """Whether two paths or URIs name the same place, however they are spelled."""
    one, other = locate(one), locate(other)
    if is_uri(one) and is_uri(other):
        return split_uri(one).quote() == split_uri(other).quote()
    try:
        return one == other or os.path.samefile(one, other)
    except OSError:  # one of them is a URI or does not exist
        return False


def split_uri(uri: str) -> StoreUri:
    """Divide a URI into its address and its options."""
    options = OPTIONS.search(uri)
    end = options.start() if options else len(uri)
    return StoreUri(uri[:end], uri[end:])


def locate_store(uri: str, name: str = "--tracking-uri") -> str:
    """Make the path in an SQLite URI absolute. Other tracking URIs stay as they are.

    Raises:
        ValueError: As for `locate`, or the store would be in memory.
    """
    if not SQLITE.match(uri):
        return uri
    require(
        SQLITE.sub("", split_uri(uri).address, count=1) != ":memory:",
        f"{name} must name a file, because a store in memory ends with its process",
        uri=uri,
    )
    return sqlite_uri(sqlite_path(uri, name), split_uri(uri).options)


def sqlite_uri(path: Path, options: str = "") -> str:
    """The URI of the SQLite file at an absolute path."""
    quoted = str(path).replace("%", "%25").replace("?", "%3F")
    scheme = "sqlite" if quoted == str(path) else "sqlite+pysqlite"
    return f"{scheme}:///{quoted}{options}"


def sqlite_path(uri: str, name: str = "--tracking-uri") -> Path:
    """The absolute path of the file of an SQLite URI.

    Raises:
        ValueError: As for `locate`.
    """
    return local_path(unquote(SQLITE.sub("", split_uri(uri).address, count=1)), name)


def is_sqlite(uri: str) -> bool:
    """Whether a tracking URI names an SQLite file."""
    return SQLITE.match(uri) is not None


def _path_of_file_uri(uri: str, name: str) -> str:
    """The local path of a file: URI, whose names may be quoted. It has neither query nor options.

    Raises ValueError if the URI names another machine.
    """
    rest = uri[len("file:") :]
    if rest.startswith("//"):
        host, slash, rest = rest[2:].partition("/")
        require(
            host in ("", "localhost") and slash == "/",
            f"{name} must be file:///PATH with three slashes: another machine cannot be read",
            place=uri,
        )
        rest = f"/{rest}"
    return unquote(rest, errors="surrogateescape")


def _normalise_uri(uri: StoreUri) -> str:
    """The URI with a scheme in small letters, without `.`, `..` and a slash at its end."""
    scheme, _, address = uri.address.partition("://")
    bucket, *names = address.rstrip("/").split("/")
    kept: list[str] = []
    for name in names:
        if name == "..":
            kept = kept[:-1]
        elif name != ".":
            kept.append(name)
    return f"{scheme.lower()}://{'/'.join([bucket, *kept])}{uri.options}"


def _resolve_dots(path: Path) -> Path:
    """An absolute path without `..`, which leads from a link to the folder above its target."""
    resolved = Path(path.anchor.replace("//", "/"))
    for part in path.parts[1:]:
        resolved = Path(os.path.realpath(resolved)).parent if part == ".." else resolved / part
    return resolved
