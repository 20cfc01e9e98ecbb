"""The files of a local store whose GENAE_HOME was moved or copied.

MLflow keeps the absolute path of each run's files in its database. After a move of the folder,
these paths lead to the old place: earlier files seem to be gone, and new files would be written
there.
"""

import contextlib
import os
import sqlite3
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from genae_core.config.command_name import command_line
from genae_core.config.home import home
from genae_core.config.places import is_sqlite, sqlite_path

ARTIFACTS = "mlartifacts"  # the folder in GENAE_HOME with the files of all runs
# The columns of MLflow's database that hold the place of files.
COLUMNS = (("experiments", "artifact_location"), ("runs", "artifact_uri"))


def artifacts_folder() -> Path:
    """The folder of the files of a local store's new experiments."""
    return home() / ARTIFACTS


def folder_of_files(location: str) -> Path | None:
    """The local folder that MLflow's artifact location names; None if it is not local."""
    parts = urllib.parse.urlsplit(location)
    if parts.scheme == "":
        return Path(location) if location else None
    return Path(urllib.request.url2pathname(parts.path)) if parts.scheme == "file" else None


def check_place(uri: str, location: str) -> None:
    """Check that the files of a local store are not those of a GENAE_HOME that was moved.

    Args:
        uri: The tracking URI.
        location: MLflow's artifact location of an experiment or of a run.

    Raises:
        ValueError: The files lie in another home than the database, or that home is gone. The
            message says what to do.
    """
    folder = folder_of_files(location)
    if not is_sqlite(uri) or folder is None or ARTIFACTS not in folder.parts:
        return  # The files of a server are its own, and a user may have chosen another folder.
    while folder.name != ARTIFACTS:
        folder = folder.parent
    database = sqlite_path(uri)
    moved_to = home() if _is_same(database.parent, home()) else database.parent
    if _is_same(folder, moved_to / ARTIFACTS):
        return
    if moved_to != home() and folder.parent.is_dir():
        return  # A store outside of GENAE_HOME leaves its files in the home of its first sweep.
    flags = [] if moved_to == home() else ["--tracking-uri", uri]
    command = command_line("relocate", str(folder.parent), *flags)
    raise ValueError(
        f"the store {database} says that its files lie in {folder}, which is not beside it: the "
        f"folder {folder.parent} was moved or copied to {moved_to}, and MLflow keeps absolute "
        f"paths. Nothing was written. Enter the new place with\n  {command}\n"
        f"If both paths must work, make {folder.parent} a link to {moved_to} instead."
    )


def relocate(database: Path, old: Path, new: Path) -> int:
    """Enter the new place of files in a database. All entries are changed, or none.

    Args:
        database: The SQLite file.
        old: The folder below which the files were, as the database has it.
        new: The folder below which they are now.

    Returns:
        The number of entries that were changed.

    Raises:
        ValueError: The file is not MLflow's database, is in use, or has no entry below `old`.
    """
    if not database.is_file():
        raise ValueError(f"there is no store at {database}")
    count = 0
    elsewhere: set[Path] = set()
    try:
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            for table, column in COLUMNS:
                rows = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
                for row, location in rows:
                    folder = folder_of_files(location or "")
                    if folder is None:
                        continue
                    if not folder.is_relative_to(old):
                        elsewhere.add(folder if table == "experiments" else folder.parent)
                        continue
                    place = (new / folder.relative_to(old)).as_uri()
                    query = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
                    connection.execute(query, (place, row))
                    count += 1
    except sqlite3.Error as error:
        raise ValueError(f"the store {database} cannot be changed: {error}") from None
    if count == 0:
        places = ", ".join(map(str, _shortest(elsewhere))) or "no local folder"
        raise ValueError(f"no run of {database} has files in {old}; they lie in {places}")
    return count


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same folder; a folder that does not exist counts by name."""
    with contextlib.suppress(OSError):
        return os.path.samefile(one, other)
    return one == other


def _shortest(folders: set[Path]) -> Iterator[Path]:
    """The folders that lie in no other one of them."""
    return (folder for folder in sorted(folders) if not folders & set(folder.parents))
