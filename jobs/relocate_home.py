"""Enter the new place of a GENAE_HOME that was moved or copied.

This is the command `genae relocate`, whose help says more.

  mv ~/.genae /data/genae
  GENAE_HOME=/data/genae python jobs/relocate_home.py ~/.genae
"""

import sys

from genae_core.commands.relocate import Options, main
from genae_core.config.cli import cli

if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
