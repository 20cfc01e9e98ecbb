"""The address of a tracking store: its checks, and its text without passwords."""

import re
import urllib.error
import urllib.request
from pathlib import Path

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
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///")).expanduser().absolute()
        if not path.parent.is_dir():
            raise ValueError(
                f"--tracking-uri: the folder {path.parent} does not exist; make it first"
            )
        return f"sqlite:///{path}"
    if uri.startswith(("http://", "https://")):
        _check_server(uri)
        return uri
    if "://" not in uri or uri.startswith("file:"):
        raise ValueError(
            "--tracking-uri must be sqlite:///PATH, http(s)://HOST:PORT or another "
            f"database that MLflow knows, got {uri!r}: MLflow no longer writes its file store"
        )
    return uri


def is_local(uri: str) -> bool:
    """Return whether only this machine can reach the store."""
    return uri.startswith("sqlite:")


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
