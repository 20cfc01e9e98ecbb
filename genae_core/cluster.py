"""Ray beyond Tune: start or join a cluster. The only importer of it."""

import os
from types import ModuleType

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves without being asked


def connect(address: str | None, num_cpus: int) -> int:
    """Join the cluster at `address` (or RAY_ADDRESS), else start one on this machine with
    `num_cpus`; returns the number of nodes.

    Raises ValueError where no cluster answers there.
    """
    ray = _ray()
    address = address or os.environ.get("RAY_ADDRESS")
    if ray.is_initialized():
        return _nodes(ray)
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        else:
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = address or "this machine"
        raise ValueError(
            f"no Ray cluster could be used at {where}: {error or 'no answer'}; check "
            "--ray-address, and RAY_AUTH_MODE and its token where the cluster asks "
            "for one"
        ) from None
    return _nodes(ray)


def disconnect() -> None:
    """Leave the cluster, or stop the one that `connect` started."""
    _ray().shutdown()


def resources() -> dict[str, float]:
    """What the cluster has in all, e.g. {"CPU": 2.0, "GPU": 1.0}."""
    found: dict[str, float] = _ray().cluster_resources()
    return found


def _nodes(ray: ModuleType) -> int:
    return sum(node["Alive"] for node in ray.nodes())


def _ray() -> ModuleType:
    import ray  # noqa: PLC0415  lazily: half of genae never needs it

    return ray
