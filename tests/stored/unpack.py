"""The stored tree at a place of the test's own: unpacked, and its absolute paths rewritten."""

import contextlib
import sqlite3
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ARCHIVE = HERE / "home.tar.xz"
WRITTEN_AT = "/tmp/genae-stored"  # every absolute path in the archive begins so
DATABASE = "home/mlflow.db"
# The columns of MLflow's database that hold a path.
PATHS = (("experiments", "artifact_location"), ("runs", "artifact_uri"))


def unpack(root: Path) -> Path:
    """Unpack the archive into the empty folder `root`, and return it."""
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(root, filter="data")
    relocate(root)
    return root


def relocate(root: Path) -> None:
    """Rewrite the paths in the database and in each sweep.json to the tree's new place."""
    with contextlib.closing(sqlite3.connect(root / DATABASE)) as database, database:
        for table, column in PATHS:
            database.execute(
                f"UPDATE {table} SET {column} = REPLACE({column}, ?, ?)", (WRITTEN_AT, str(root))
            )
    for manifest in (root / "home" / "sweeps").glob("*/sweep.json"):
        manifest.write_text(manifest.read_text().replace(WRITTEN_AT, str(root)))
