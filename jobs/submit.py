"""Send a sweep or a job of this repository to a cluster, follow its log, and return its exit code.

This is the command `genae submit`, whose help says more. It sends the checkout that this script
belongs to.

  python jobs/submit.py -- sweeps/latent_dim.py --dataset mnist
  python jobs/submit.py --address http://127.0.0.1:8265 --install -- sweeps/search.py --minutes 20
"""

import sys
from pathlib import Path

from genae_core.cluster.upload import Checkout
from genae_core.commands import submit
from genae_core.commands.submit import Options
from genae_core.config.cli import cli


def main(options: Options) -> int:
    """Send a script of this checkout, whichever one is installed."""
    return submit.submit(options, Checkout(Path(__file__).resolve().parents[1]))


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
