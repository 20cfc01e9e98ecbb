"""Open the page of the sweep that ended last, in the default browser.

Without a screen, only the path of the page is printed.

  python dashboards/explorer/latest.py
"""

import os
import sys
import webbrowser
from dataclasses import dataclass

from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.report.summary_run import PAGE


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this script."""

    print: bool = False
    """Only print the path of the page."""


def main(options: Options) -> int:
    """Print the path of the page, and open it if there is a screen."""
    sweeps = home() / "sweeps"
    pages = sorted(sweeps.glob(f"*/{PAGE}"), key=lambda path: path.stat().st_mtime)
    if not pages:
        raise ValueError(
            f"no sweep in {sweeps} has a page yet: run a sweep, or build the page of another "
            "sweep with dashboards/explorer/build.py"
        )
    print(pages[-1])
    # Without a screen, webbrowser would start a browser in the terminal.
    has_screen = (
        sys.platform in ("darwin", "win32")
        or "DISPLAY" in os.environ
        or "WAYLAND_DISPLAY" in os.environ
    )
    if has_screen and not options.print:
        webbrowser.open(pages[-1].as_uri())
    return 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
