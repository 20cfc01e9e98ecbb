"""Prints what the autoscaler sees whenever that changes, as a line of JSON: `watch.py ADDRESS`.

at: seconds since 1970. alive: the nodes, the head among them. pending: how many bundles of
resources wait for a node. A head that does not answer yet is asked again.
"""

import json
import sys
import time
from typing import Any

from ray.autoscaler.v2.sdk import get_cluster_status
from ray.exceptions import RpcError

EVERY_S = 0.2


def seen(address: str) -> dict[str, Any]:
    status = get_cluster_status(address)
    wanted = status.resource_demands
    waiting = [*wanted.placement_group_demand, *wanted.ray_task_actor_demand]
    return {
        "alive": sorted(node.instance_id for node in (*status.active_nodes, *status.idle_nodes)),
        "pending": sum(each.count for demand in waiting for each in demand.bundles_by_count),
    }


if __name__ == "__main__":
    last = None
    while True:
        try:
            now = seen(sys.argv[1])
        except RpcError as error:
            print(error, file=sys.stderr)
            now = last
        if now != last:
            print(json.dumps({"at": time.time(), **now}), flush=True)
        last = now
        time.sleep(EVERY_S)
