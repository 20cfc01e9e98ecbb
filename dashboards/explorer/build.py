"""Build one HTML file that shows how a sweep's samples change with the MCMC step.

The file needs no server and no network: open it in a browser, or send it to somebody.

  python dashboards/explorer/build.py --sweep NAME --out explorer.html
  python dashboards/explorer/build.py --sweep A B --tracking-uri http://HOST:5000 --out both.html
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from genae_core.config.cli import cli
from genae_core.config.home import default_store
from genae_core.config.places import is_sqlite, locate_fields, sqlite_path
from genae_core.data.storage import Folder
from genae_core.report.explorer.page import MAX_MB, build
from genae_core.tracking.store_uri import resolve_uri


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this script."""

    sweep: tuple[str, ...]
    """The names of the sweeps to show together."""
    out: Path
    """The HTML file to write."""
    tracking_uri: str | None = None
    """The MLflow store (default: mlflow.db in GENAE_HOME)."""
    overwrite: bool = False
    """Replace the file if it exists."""
    max_mb: float = MAX_MB
    """The largest size of the file in MB. To stay below it, the page leaves out pictures, and says
    how many are left out."""

    def __post_init__(self) -> None:
        locate_fields(self, "out", "tracking_uri")


def check_options(options: Options) -> str:
    """Return the store's URI. Raises ValueError, before anything is read, if a flag is wrong."""
    if options.out.exists() and not options.overwrite:
        raise ValueError(f"{options.out} exists already; give --overwrite to replace it")
    if not options.out.parent.is_dir():
        raise ValueError(f"the folder {options.out.parent} does not exist")
    if options.out.is_dir():
        raise ValueError(f"--out is the HTML file to write, and {options.out} is a folder")
    Folder(options.out.parent).check_writable()
    if not options.max_mb > 0:
        raise ValueError(f"--max-mb must be > 0, got max_mb={options.max_mb}")
    uri = resolve_uri(options.tracking_uri or default_store())
    # MLflow would make a new store if there is none.
    if is_sqlite(uri) and not sqlite_path(uri).is_file():
        raise ValueError(f"there is no store at {uri}; give --tracking-uri")
    return uri


def main(options: Options) -> int:
    """Build the page, and say what was written."""
    print(build(check_options(options), options.sweep, options.out, options.max_mb))
    return 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
