"""Measure samples at steps of a trained model's chain: FCD, kernel distance and classes.

This is the command `genae evaluate`, whose help says more.

  python jobs/evaluate.py RUN_ID --num-samples 1000000 --out report.json
  python jobs/evaluate.py CHECKPOINT_FOLDER --dataset mnist --data-root DIR --steps 0 5 50
"""

import sys

from genae_core.commands.evaluate import Options, main
from genae_core.config.cli import cli

if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
