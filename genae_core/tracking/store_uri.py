"""The address of a tracking store: its checks, and its text without passwords."""

import re
import urllib.error
import urllib.request

from genae_core.config.places import is_same_place, is_sqlite, locate_store, sqlite_path

TIMEOUT_S = 10


def redact(text: str) -> str:
    """Replace the passwords of all URLs in the text.

    Args:
        text: Any text, such as an error message.

    Returns:
        The text with `***` in place of each password.
    """
    return re.sub(r"(://[^/@:\s]*):[^/\s]+@", r"\1:***@", text)


def resolve_uri(uri: str) -> str:
    """Check a tracking URI and make its SQLite path absolute.

    Args:
        uri: sqlite:///PATH, http(s)://HOST:PORT, or another database that MLflow knows.

    Returns:
        The same URI, with an absolute path if it names an SQLite file.

    Raises:
        ValueError: The folder of an SQLite file does not exist, MLflow no longer writes this kind
            of store, or the server does not answer within TIMEOUT_S.
    """
    if is_sqlite(uri):
        uri = locate_store(uri)
        folder = sqlite_path(uri).parent
        if not folder.is_dir():
            raise ValueError(f"--tracking-uri: the folder {folder} does not exist; make it first")
        return uri
    if uri.startswith(("http://", "https://")):
        _check_server(uri)
        return uri
    if "://" not in uri or uri.startswith("file:"):
        raise ValueError(
            "--tracking-uri must be sqlite:///PATH, http(s)://HOST:PORT or another "
            f"database that MLflow knows, got {uri!r}: MLflow no longer writes its file store"
        )
    return uri


def is_same_store(one: str, other: str) -> bool:
    """Return whether two tracking URIs name the same store, however its path is spelled."""
    if is_sqlite(one) and is_sqlite(other):
        return is_same_place(str(sqlite_path(one)), str(sqlite_path(other)))
    return one == other


def is_local(uri: str) -> bool:
    """Return whether only this machine can reach the store."""
    return uri.startswith(("sqlite:", "sqlite+"))


def _check_server(uri: str) -> None:
    """Raise ValueError if no server answers at the URI."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=TIMEOUT_S) as answer:
            answer.read()
    except urllib.error.HTTPError:
        return  # A server is there. Missing permissions show when the experiment is created.
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--tracking-uri {redact(uri)} does not answer: {error}; start the "
            "server or check the address"
        ) from None
