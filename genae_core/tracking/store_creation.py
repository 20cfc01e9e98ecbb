"""The first use of a store by several processes at once, and by processes that are killed.

MLflow makes a new database table by table while it is already in its place. Two processes that do
so at the same time disturb each other, and a process that is killed leaves an SQLite database that
MLflow cannot open again. Here an SQLite database is therefore made beside its place, under a lock,
and renamed. Other databases undo by themselves what was not finished, and need only the lock.
"""

import contextlib
import glob
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from genae_core.config.home import home
from genae_core.config.make_once import make_alone
from genae_core.config.places import is_sqlite, sqlite_path, sqlite_uri

# An unfinished database that nobody has written to for these seconds belongs to nobody any more.
# A server of MLflow may be making it just now.
QUIET_S = 10.0
LOCKED_S = 5.0  # the longest wait for a process that has locked the database
POLL_S = 0.1
IN_MEMORY = "sqlite:///:memory:"  # has no file
# SQLite's own files beside a database, by the ends of their names.
COMPANIONS = ("-journal", "-wal", "-shm")


@contextlib.contextmanager
def open_alone(uri: str) -> Iterator[None]:
    """Let one process of this machine at a time open a database that is no file.

    A server of MLflow makes its database by itself, and `make_if_missing` makes an SQLite one.
    """
    if uri.startswith(("http", "sqlite")) or "://" not in uri:
        yield
        return
    with make_alone(home() / f"store-{hashlib.sha256(uri.encode()).hexdigest()[:16]}"):
        yield


def make_if_missing(uri: str, make: Callable[[str], None]) -> None:
    """Make the database of an SQLite URI, if it is missing or if its making was interrupted.

    An interrupted database holds no experiment. It is not deleted but renamed, with a warning.

    Args:
        uri: The tracking URI. A URI of another kind is left alone.
        make: Makes a complete database at a URI.

    Raises:
        OSError: The disk fails, or its permissions do not allow the database.
    """
    if not is_sqlite(uri) or uri == IN_MEMORY:
        return
    database = sqlite_path(uri)
    if state_of(database) == "made":
        return
    with make_alone(database):
        while _settled_state_of(database) != "made":
            if database.exists():
                _set_aside(database)
            start = f".{database.name}.partial-"
            for unfinished in database.parent.glob(f"{glob.escape(start)}*"):
                unfinished.unlink()  # its process was killed, or the disk was full
            partial = database.with_name(f"{start}{os.getpid()}")
            make(sqlite_uri(partial))
            if not database.exists():  # a server of MLflow takes no lock
                _rename(partial, database)
                return


def state_of(database: Path) -> Literal["missing", "unfinished", "made"]:
    """Whether the database can be used. MLflow adds the first experiment when all tables are made.

    A file that cannot be read, or that is no database of MLflow, counts as made: MLflow says what
    is wrong with it. So does what is no file, such as a device, which must not be renamed.
    """
    if not database.exists():
        return "missing"
    if not database.is_file():
        return "made"
    address = f"file:{quote(str(database))}?mode=rw"
    try:
        # The connection also undoes what a killed process has left in SQLite's journal.
        with contextlib.closing(sqlite3.connect(address, LOCKED_S, uri=True)) as connection:
            columns = [row[1] for row in connection.execute("PRAGMA table_info(experiments)")]
            mlflow = "artifact_location" in columns  # and not another program's experiments
            table = "experiments" if mlflow else "sqlite_master"
            rows = connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall()
            return "made" if rows else "unfinished"
    except sqlite3.Error:
        return "made"


def _settled_state_of(database: Path) -> Literal["missing", "unfinished", "made"]:
    """The state of the database, after waiting for a process that makes it without the lock."""
    while (state := state_of(database)) == "unfinished":
        if time.time() - _last_change(database) > QUIET_S:
            break
        time.sleep(POLL_S)
    return state


def _last_change(database: Path) -> float:
    """The time of the last change of the database or of SQLite's files beside it."""
    times = [0.0]
    for path in (database, *_companions_of(database)):
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)


def _set_aside(database: Path) -> None:
    """Rename an unfinished database, and say so."""
    aside = database.with_name(f"{database.name}.unfinished-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    print(
        f"warning: the making of {database} was interrupted, so it holds no experiment and cannot "
        f"be used; it is now {aside.name}, which you can delete, and a new one is made"
    )
    _rename(database, aside)


def _rename(old: Path, new: Path) -> None:
    """Rename a database that no process uses, so that the new name survives a power cut."""
    for path in _companions_of(new):  # SQLite would take the journal of another database for it
        path.unlink(missing_ok=True)
    for path in _companions_of(old):
        path.unlink(missing_ok=True)
    old.rename(new)
    folder = os.open(new.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _companions_of(database: Path) -> list[Path]:
    return [database.with_name(f"{database.name}{ending}") for ending in COMPANIONS]
