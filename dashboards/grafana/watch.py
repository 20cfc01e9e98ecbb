"""Start Prometheus and Grafana on this machine, to watch a running sweep. Ctrl-C ends both.

This is the command `genae watch`, whose help says more.

  python dashboards/grafana/watch.py
  python dashboards/grafana/watch.py --discovery /tmp/ray/prom_metrics_service_discovery.json
"""

import sys

from genae_core.commands.watch import Options, main
from genae_core.config.cli import cli

if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
