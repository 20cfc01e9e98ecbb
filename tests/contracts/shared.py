"""What a process of tests starts once and uses to its end, such as a Ray cluster."""

import functools
import signal
from contextlib import ExitStack

UNTIL_THE_END = ExitStack()  # tests/conftest.py closes it when the last test has ended


@functools.cache
def ray_address() -> str:
    """The address of a Ray node with two CPUs on this machine, which sweeps and jobs join."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415  seconds, which few tests need

    node = {"num_cpus": 2, "object_store_memory": 512 * 2**20, "include_dashboard": False}
    handler = signal.getsignal(signal.SIGTERM)
    cluster = Cluster(initialize_head=True, head_node_args=node)
    signal.signal(signal.SIGTERM, handler)  # Ray has put its own in its place
    UNTIL_THE_END.callback(cluster.shutdown)
    return str(cluster.address)
