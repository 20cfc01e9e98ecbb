"""Start, show or stop a Ray cluster of one node on this machine.

This is the command `genae node`.

  python cluster/local/node.py up        # prints how to submit a job
  python cluster/local/node.py status
  python cluster/local/node.py down
"""

import sys

from genae_core.commands.node import Options, main
from genae_core.config.cli import cli

if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
