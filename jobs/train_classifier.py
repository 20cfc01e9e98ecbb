"""Train the FCD's classifier of a dataset, and check what it can measure.

This is the command `genae train-classifier`, whose help says more.

  python jobs/train_classifier.py --dataset mnist --data-root DIR
"""

import sys

from genae_core.commands.train_classifier import Options, main
from genae_core.config.cli import cli

if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
