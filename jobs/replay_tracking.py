"""Deliver what a sweep logged while its tracking store did not answer.

This is the command `genae replay`, whose help says more.

  python jobs/replay_tracking.py ~/.genae/sweeps/NAME
"""

import sys

from genae_core.commands.replay import Options, main
from genae_core.config.cli import cli

if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
