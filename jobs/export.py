"""Write the trained model of a run into a folder that others can read: for a model hub, say.

This is the command `genae export`, whose help says more.

  python jobs/export.py RUN_ID --out DIR
"""

import sys

from genae_core.commands.export import Options, main
from genae_core.config.cli import cli

if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
