"""Write samples of a trained model after k steps of its chain, as Parquet or PNG files.

This is the command `genae sample`, whose help says more.

  python jobs/sample.py RUN_ID --num-samples 1000000 --out DIR
  python jobs/sample.py CHECKPOINT_FOLDER --num-samples 100 --steps 5 --format png --out DIR
"""

import sys

from genae_core.commands.sample import Options, main
from genae_core.config.cli import cli

if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
