"""Which family, latent dimension, prior, noise and weights give the lowest FCD together?

This is the command `genae search`, whose help says more.

  python sweeps/search.py --dataset mnist --data-root DIR --minutes 20
  python sweeps/search.py ... --against model_family-20260101-000000-abcd
"""

import sys

from genae_core.commands.search import Options, main
from genae_core.config.cli import cli

if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
