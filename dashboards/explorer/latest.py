"""Open the page of the sweep that ended last, in the default browser.

This is the command `genae explorer`, whose help says more.

  python dashboards/explorer/latest.py
"""

import sys

from genae_core.commands.explorer import Options, main
from genae_core.config.cli import cli

if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
