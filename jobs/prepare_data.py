"""Decode a dataset once, on all CPUs of the cluster, into shards that all trials share.

This is the command `genae prepare`, whose help says more.

  python jobs/prepare_data.py celeba --raw DIR --out DIR
  python jobs/prepare_data.py image_folder --raw DIR --out DIR --size 28 --grey
  python jobs/prepare_data.py image_folder --raw s3://BUCKET/images --out s3://BUCKET/shards
"""

import sys

from genae_core.commands.prepare import Options, main
from genae_core.config.cli import cli

if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
