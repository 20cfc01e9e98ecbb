"""The address of a tracking store."""

from urllib.parse import urlsplit

from genae_core.config.places import is_same_place, is_sqlite, locate_store, sqlite_path
from genae_core.config.redaction import redact_uri
from genae_core.tracking.store_check import check_store


def resolve_uri(uri: str) -> str:
    """Check a tracking URI and its store, and make an SQLite path absolute.

    Args:
        uri: sqlite:///PATH, http(s)://HOST:PORT, or another database that MLflow knows.

    Returns:
        The same URI, with an absolute path if it names an SQLite file.

    Raises:
        ValueError: The folder of an SQLite file does not exist, MLflow no longer writes this kind
            of store, or the address is malformed.
        StoreError: The store does not answer within some seconds, or cannot be opened.
    """
    if is_sqlite(uri):
        uri = locate_store(uri)
        folder = sqlite_path(uri).parent
        if not folder.is_dir():
            raise ValueError(f"--tracking-uri: the folder {folder} does not exist; make it first")
    elif "://" not in uri or uri.startswith("file:"):
        raise ValueError(
            "--tracking-uri must be sqlite:///PATH, http(s)://HOST:PORT or another "
            f"database that MLflow knows, got {redact_uri(uri)!r}: MLflow no longer writes its "
            "file store"
        )
    elif not is_local(uri):
        _check_address(uri)
    check_store(uri)
    return uri


def is_same_store(one: str, other: str) -> bool:
    """Return whether two tracking URIs name the same store, however its path is spelled."""
    if is_sqlite(one) and is_sqlite(other):
        return is_same_place(str(sqlite_path(one)), str(sqlite_path(other)))
    return one == other


def is_local(uri: str) -> bool:
    """Return whether only this machine can reach the store."""
    return uri.startswith(("sqlite:", "sqlite+"))


def _check_address(uri: str) -> None:
    """Raise ValueError if a URI is malformed. Its parts may be pieces of a password."""
    try:
        split = urlsplit(uri)
        valid = split.port is None or split.port > 0
        valid = valid and (split.hostname is not None or not uri.startswith("http"))
        # Behind a user's name, an @ in the path comes from a password with a slash in it.
        valid = valid and not ("@" in split.netloc and "@" in split.path)
    except ValueError:
        valid = False
    if not valid or any(letter.isspace() for letter in uri):
        raise ValueError(
            f"--tracking-uri {redact_uri(uri)!r} is no valid address: write "
            "http://USER:PASSWORD@HOST:PORT, with signs such as / ? # @ and spaces of a password "
            "as %2F %3F %23 %40 %20"
        )
