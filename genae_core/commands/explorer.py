"""Open the page of the sweep that ended last, or build one page of several sweeps.

The page is one HTML file, which needs no server and no network. Without a screen, only its path is
printed.

  genae explorer
  genae explorer --sweep NAME --out explorer.html
  genae explorer --sweep A B --tracking-uri http://HOST:5000 --out both.html
"""

import os
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path

from genae_core import report, tracking
from genae_core.config import require
from genae_core.config.command_name import command_line
from genae_core.config.home import default_store, home
from genae_core.config.places import is_sqlite, locate_fields, sqlite_path
from genae_core.config.progress import ProgressDisplay
from genae_core.data.storage import Folder
from genae_core.report import explorer
from genae_core.report.explorer import MAX_MB


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this command."""

    sweep: tuple[str, ...] = ()
    """The names of the sweeps to show together (default: open the page of the latest sweep)."""
    out: Path | None = None
    """The HTML file to write, with --sweep."""
    tracking_uri: str | None = None
    """The MLflow store, with --sweep (default: mlflow.db in GENAE_HOME)."""
    overwrite: bool = False
    """Replace the file if it exists."""
    max_mb: float = MAX_MB
    """The largest size of the file in MB. To stay below it, the page leaves out pictures, and says
    how many are left out."""
    print: bool = False
    """Only print the path of the page of the latest sweep."""

    def __post_init__(self) -> None:
        locate_fields(self, "out", "tracking_uri")
        both = bool(self.sweep) == (self.out is not None)
        require(both, "--sweep and --out belong together", sweep=self.sweep, out=self.out)


def main(options: Options) -> int:
    """Build the page of the sweeps, or open that of the latest one."""
    if options.out is None:
        return open_latest(options.print)
    uri = check_options(options)
    with ProgressDisplay("building the page"):
        page = explorer.build(uri, options.sweep, options.out, options.max_mb)
    print(page)
    return 0


def check_options(options: Options) -> str:
    """Return the store's URI. Raises ValueError, before anything is read, if a flag is wrong."""
    out = options.out
    assert out is not None
    if out.exists() and not options.overwrite:
        raise ValueError(f"{out} exists already; give --overwrite to replace it")
    if not out.parent.is_dir():
        raise ValueError(f"the folder {out.parent} does not exist")
    if out.is_dir():
        raise ValueError(f"--out is the HTML file to write, and {out} is a folder")
    Folder(out.parent).check_writable()
    if not options.max_mb > 0:
        raise ValueError(f"--max-mb must be > 0, got max_mb={options.max_mb}")
    uri = tracking.resolve_uri(options.tracking_uri or default_store())
    # MLflow would make a new store if there is none.
    if is_sqlite(uri) and not sqlite_path(uri).is_file():
        raise ValueError(f"there is no store at {uri}; give --tracking-uri")
    return uri


def open_latest(only_print: bool) -> int:
    """Print the path of the latest sweep's page, and open it if there is a screen."""
    sweeps = home() / "sweeps"
    pages = sorted(sweeps.glob(f"*/{report.PAGE}"), key=lambda path: path.stat().st_mtime)
    if not pages:
        raise ValueError(
            f"no sweep in {sweeps} has a page yet: run a sweep, or build the page of another "
            f"sweep with {command_line('explorer', '--sweep', 'NAME', '--out', 'FILE')}"
        )
    print(pages[-1])
    # Without a screen, webbrowser would start a browser in the terminal.
    has_screen = (
        sys.platform in ("darwin", "win32")
        or "DISPLAY" in os.environ
        or "WAYLAND_DISPLAY" in os.environ
    )
    if has_screen and not only_print:
        webbrowser.open(pages[-1].as_uri())
    return 0
