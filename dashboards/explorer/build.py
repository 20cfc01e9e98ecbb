"""One HTML file that shows how a sweep's samples change with the steps of the chain.

  python dashboards/explorer/build.py --sweep NAME --out explorer.html
  python dashboards/explorer/build.py --sweep A B --tracking-uri http://HOST:5000 --out both.html

It needs no server and no network: open it in a browser, send it to somebody.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from genae_core.config.cli import cli
from genae_core.config.home import default_store
from genae_core.report.explorer.page import MOST_MB, build
from genae_core.tracking.store_uri import resolve_uri


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this page."""

    sweep: tuple[str, ...]
    """Names of the sweeps to show together, as their runs are tagged."""
    out: Path
    """The HTML file."""
    tracking_uri: str | None = None
    """MLflow store (default: mlflow.db in GENAE_HOME)."""
    overwrite: bool = False
    """Replace the file if it is there."""
    max_mb: float = MOST_MB
    """Largest size of the file: pictures are left out, and the page says which, to stay below."""


def checked(options: Options) -> str:
    """The store's URI. Raises ValueError before anything is read for what cannot end well."""
    if options.out.exists() and not options.overwrite:
        raise ValueError(f"{options.out} is there already; give --overwrite to replace it")
    if not options.out.absolute().parent.is_dir():
        raise ValueError(f"the folder {options.out.absolute().parent} is not there")
    if not options.max_mb > 0:
        raise ValueError(f"max_mb must be > 0, got max_mb={options.max_mb}")
    uri = resolve_uri(options.tracking_uri or default_store())
    # MLflow would make a new store where there is none.
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise ValueError(f"there is no store at {uri}; give --tracking-uri")
    return uri


def main(options: Options) -> int:
    """Read, choose, write."""
    print(build(checked(options), options.sweep, options.out, options.max_mb))
    return 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
