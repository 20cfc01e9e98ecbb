"""Build one HTML file that shows how a sweep's samples change with the MCMC step.

This is the command `genae explorer`, whose help says more.

  python dashboards/explorer/build.py --sweep NAME --out explorer.html
  python dashboards/explorer/build.py --sweep A B --tracking-uri http://HOST:5000 --out both.html
"""

import sys

from genae_core.commands.explorer import Options, main
from genae_core.config.cli import cli

if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
