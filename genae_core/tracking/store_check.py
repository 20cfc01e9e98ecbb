"""Whether a tracking store can be opened, asked in a few seconds before MLflow tries for minutes.

An SQLite file is checked without MLflow and SQLAlchemy, which take a second to import.

MLflow repeats a failed connection ten times with growing pauses, and then raises the error of
whichever library has failed.
"""

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from genae_core.config.network import ANSWER_S, check_port, within
from genae_core.config.places import is_sqlite, sqlite_path
from genae_core.config.redaction import redact_uri
from genae_core.config.validate import require
from genae_core.tracking.store_creation import state_of
from genae_core.tracking.store_errors import StoreError, translate_errors

if TYPE_CHECKING:
    from sqlalchemy import Engine

PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
MLFLOW_TABLES = {"experiments", "runs", "latest_metrics"}
SQLITE_HEADER = b"SQLite format 3\0"
LOCK_S = 10.0  # Many trials that write at the same time may hold the lock for some seconds.


def check_store(uri: str) -> None:
    """Check that a store answers.

    Args:
        uri: The tracking URI, as `resolve_uri` returns it.

    Raises:
        StoreError: It does not answer, cannot be opened, or is no store.
    """
    with translate_errors(uri):
        if uri.startswith(("http://", "https://")):
            _check_server(uri)
        elif uri.startswith("sqlite"):
            _check_file(uri)
        else:
            _check_database(uri)


def check_other_database(uri: str, flag: str) -> None:
    """Check that a database for something else than MLflow answers, and has no tables of MLflow.

    Args:
        uri: Its URI.
        flag: The flag that names it, for messages.

    Raises:
        ValueError: The folder of an SQLite file does not exist, or the tables of MLflow are there.
        StoreError: It does not answer, or cannot be opened.
    """
    if is_sqlite(uri):
        folder = sqlite_path(uri, flag).parent
        require(folder.is_dir(), f"{flag}: the folder does not exist; make it", folder=str(folder))
    with translate_errors(uri, flag):
        if not is_sqlite(uri):
            _check_database(uri)
        import sqlalchemy  # noqa: PLC0415  # not within the seconds of the answer

        names = within(ANSWER_S, _table_names, sqlalchemy.create_engine(uri))
    require(
        not MLFLOW_TABLES <= names,
        f"{flag} must be a database of its own, and this one holds the tables of MLflow",
        uri=redact_uri(uri),
    )


def _table_names(engine: "Engine") -> set[str]:
    import sqlalchemy  # noqa: PLC0415

    try:
        return set(sqlalchemy.inspect(engine).get_table_names())
    finally:
        engine.dispose()


def server_version(uri: str) -> str:
    """Return the version of the MLflow of a server. Raises StoreError if it does not answer."""
    with translate_errors(uri):
        text: str = within(ANSWER_S, _question(uri, "/version"))[:100]
        return text


def _check_server(uri: str) -> None:
    """Ask a server whether it is up. Any answer counts: what it refuses shows later, by name."""
    try:
        within(ANSWER_S, _question(uri, "/health"))
    except TimeoutError:
        raise StoreError(
            f"the tracking store {redact_uri(uri)} does not answer within {ANSWER_S:g} s: start "
            "the server or check the address"
        ) from None


def _question(uri: str, path: str) -> Callable[[], str]:
    """A function that asks a server once, with the user's settings for MLflow.

    MLflow is imported here, and not within the seconds in which the server must answer.
    """
    from mlflow.utils.credentials import get_default_host_creds  # noqa: PLC0415
    from mlflow.utils.rest_utils import http_request  # noqa: PLC0415

    ask: Any = http_request
    credentials: Any = get_default_host_creds

    def get() -> str:
        settings = {"max_retries": 0, "retry_codes": (), "timeout": ANSWER_S}
        return str(ask(credentials(uri), path, "GET", **settings).text)

    return get


def _check_file(uri: str) -> None:
    """Check that an SQLite file is a database, or that it can be created."""
    if not is_sqlite(uri):
        raise StoreError("an SQLite store needs a file: write sqlite:///PATH")
    path = sqlite_path(uri)
    if path.is_dir():
        raise StoreError(f"{path} is a folder: write sqlite:///PATH of a file")
    if not path.exists():
        with tempfile.TemporaryFile(dir=path.parent):
            return  # The folder can be written.
    if not path.is_file():  # Opening a named pipe waits for ever.
        raise StoreError(f"{path} is a device, a pipe or a socket: write sqlite:///PATH of a file")
    with path.open("rb") as file:
        header = file.read(16)
    if header and header != SQLITE_HEADER:
        raise StoreError(f"{path} is no SQLite database: choose another file")
    # A connection that may write also undoes what a killed process has left half written.
    link = f"file:{quote(str(path))}?mode=rw"
    with contextlib.closing(sqlite3.connect(link, uri=True, timeout=LOCK_S)) as connection:
        connection.isolation_level = None
        try:
            # Until the end of this transaction no other process writes to the file.
            connection.execute("begin")
            names = {name for (name,) in connection.execute("select name from sqlite_master")}
        except sqlite3.OperationalError as error:  # such as a lock
            raise StoreError(f"{path} cannot be read: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{path} is damaged ({error}): put a backup in its place, or choose another store"
            ) from error
        if names and "alembic_version" not in names and state_of(path) == "made":
            raise StoreError(f"{path} holds tables, but not those of MLflow: choose another file")
        _check_size(path)


def _check_size(path: Path) -> None:
    """Raise StoreError if the file is shorter than its header says.

    https://www.sqlite.org/fileformat.html#the_database_header: the page size is at byte 16, the
    number of pages at 28, which is valid if the numbers at 24 and 92 are equal.
    """
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or header[24:28] != header[92:96]:
        return
    page = int.from_bytes(header[16:18])
    expected = (65536 if page == 1 else page) * int.from_bytes(header[28:32])
    size = path.stat().st_size
    if size < expected:
        raise StoreError(
            f"{path} is cut off: it has {size:,} of {expected:,} bytes. Put a backup in its "
            "place, or choose another store"
        )


def _check_database(uri: str) -> None:
    """Connect to the server of a database once."""
    import sqlalchemy  # noqa: PLC0415

    url = sqlalchemy.make_url(uri)
    engine = sqlalchemy.create_engine(url)  # raises an error if the driver is missing
    port = url.port or PORTS.get(url.get_backend_name())
    if url.host and not url.host.startswith("/") and port:
        check_port(url.host, port)

    def ask() -> None:
        engine.connect().close()
        engine.dispose()  # It would keep the connection.

    within(ANSWER_S, ask)
