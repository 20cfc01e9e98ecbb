"""Enter the new place of a GENAE_HOME that was moved or copied.

MLflow keeps the absolute path of each run's files in its database. After a move of GENAE_HOME, a
sweep and the other jobs refuse to start until this job has entered the new place. It changes the
database mlflow.db and the manifests of the sweeps in the present GENAE_HOME, and moves no file.

  mv ~/.genae /data/genae
  GENAE_HOME=/data/genae genae relocate ~/.genae
"""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from genae_core import sweep, tracking
from genae_core.config import require
from genae_core.config.home import default_store, home
from genae_core.config.places import is_sqlite, locate_fields, sqlite_path, sqlite_uri
from genae_core.tracking.moved_home import ARTIFACTS


@dataclass(frozen=True)
class Options:
    """The flags of this command."""

    old: Positional[Path]
    """The folder that GENAE_HOME was."""
    tracking_uri: str | None = None
    """The SQLite store whose files were moved with it (default: mlflow.db in GENAE_HOME)."""

    def __post_init__(self) -> None:
        locate_fields(self, "old", "tracking_uri")


def main(options: Options) -> int:
    """Change the database and the manifests, and print how many entries were changed."""
    uri = options.tracking_uri or default_store()
    require(is_sqlite(uri), "--tracking-uri must be sqlite:///PATH", tracking_uri=uri)
    database = sqlite_path(uri)
    new = database.parent
    folder = new / ARTIFACTS
    if not folder.is_dir():
        raise ValueError(
            f"there is no folder {folder} with the files of the runs; set GENAE_HOME to the new "
            "place of the home"
        )
    count = tracking.relocate(database, options.old / ARTIFACTS, folder)
    before = sqlite_uri(options.old / database.name)
    changed = sum(sweep.replace_store(path, before, uri) for path in (home() / "sweeps").glob("*"))
    print(f"{count} entries of {database} and {changed} sweeps: {options.old} is now {new}")
    return 0
