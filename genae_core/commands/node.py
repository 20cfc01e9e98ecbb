"""Start, show or stop a Ray cluster of one node on this machine.

The node outlives the terminal. Jobs are sent to it with `genae submit`.

  genae node up
  genae node status
  genae node down
"""

from genae_core.cluster.local_node import Options, main

__all__ = ["Options", "main"]
