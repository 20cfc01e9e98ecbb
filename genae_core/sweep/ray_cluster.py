"""Ray beyond Tune: start or join a cluster. The only importer of it."""

import contextlib
import gc
import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

_READ: list[Any] = []  # what `each` reads, until it is read to its end
# Of Ray Data, by name. Each ends soon after what it reads for is closed; one that asks Ray for
# something after this process has left the cluster ends the process without a word, or starts
# another Ray.
THREADS = ("iter_threaded", "StreamingExecutor", "ray-data")
ENDS_S = 30.0

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves without being asked


def connect(address: str | None, num_cpus: int) -> int:
    """Join the cluster at `address` (or RAY_ADDRESS), else start one on this machine with
    `num_cpus`; returns the number of nodes.

    Raises ValueError where no cluster answers there.
    """
    ray = _ray()
    address = address or os.environ.get("RAY_ADDRESS")
    if ray.is_initialized():
        return len(nodes())
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        else:
            # What is of this sweep alone listens on loopback alone. Ray has read the variable
            # when it was imported, and its processes read it when they start.
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
            ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
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
    return len(nodes())


def disconnect() -> None:
    """Leave the cluster, or stop the one that `connect` started."""
    for rows in tuple(_READ):  # of an `each` that is not read to its end
        rows.close()
    for thread in threading.enumerate():
        if thread.name.startswith(THREADS):
            thread.join(ENDS_S)
    _ray().shutdown()


def joined() -> bool:
    """Whether this process is part of a cluster."""
    return bool(_ray().is_initialized())


def meter(kind: str, name: str, given: dict[str, Any]) -> Any:
    """One of Ray's metrics: a Counter, a Gauge or a Histogram."""
    from ray.util import metrics  # noqa: PLC0415

    return getattr(metrics, kind)(name, **given)


def slots(trial: dict[str, float]) -> list[int]:
    """How many trials that ask for these resources (cpu, gpu, memory in bytes) each node holds."""
    names = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}
    asked = {names[name]: much for name, much in trial.items() if much > 0}
    have = nodes()
    return [min(int(node.get(name, 0) // much) for name, much in asked.items()) for node in have]


def alone(trial: dict[str, float], parallel: int) -> bool:
    """Whether there is one node, and it holds so many of these trials: no other will come."""
    return len(nodes()) == 1 and parallel <= sum(slots(trial))


def nodes() -> list[dict[str, float]]:
    """What each node that is alive has, e.g. {"CPU": 2.0, "GPU": 1.0}."""
    return [node["Resources"] for node in _ray().nodes() if node["Alive"]]


def resources() -> dict[str, float]:
    """What the cluster has in all, e.g. {"CPU": 2.0, "GPU": 1.0}."""
    found: dict[str, float] = _ray().cluster_resources()
    return found


def once(function: Callable[..., R], *arguments: Any, cpus: int = 1, gpus: float = 0.0) -> R:
    """Call the function once, where it has so many CPUs and GPUs for itself; on a cluster that
    grows, as soon as there are. Raises what it raises."""
    ray = _ray()
    # A worker of its own, so that nothing of it stays on a GPU.
    call = ray.remote(num_cpus=cpus, num_gpus=gpus, max_calls=1, max_retries=0)(function)
    result: R = ray.get(call.remote(*arguments))
    return result


@contextlib.contextmanager
def foreseen(trial: dict[str, float], count: int) -> Iterator[None]:
    """Meanwhile ask a cluster that has no room for a trial yet for what so many will need, so that
    their nodes start beside the first. Nothing is reserved: the wish ends here, or with this
    process."""
    ray = _ray()
    call = ray.remote(
        num_cpus=trial.get("cpu", 0), num_gpus=trial.get("gpu", 0), memory=trial.get("memory")
    )(_nothing)
    wishes = [] if sum(slots(trial)) else [call.remote() for _ in range(count)]
    try:
        yield
    finally:
        for wish in wishes:
            ray.cancel(wish)


def _nothing() -> None:
    pass


def _cpus_here() -> float:
    """CPUs that this process's node has for calls; a cluster's head may have none."""
    me = _ray().get_runtime_context().get_node_id()
    (here,) = (node for node in _ray().nodes() if node["NodeID"] == me)
    return float(here["Resources"].get("CPU", 0))


def object_store_bytes() -> float:
    """The shared memory of one node, bytes."""
    return float(resources().get("object_store_memory", 0)) / len(nodes())


def shared(value: T) -> T:
    """The value, its arrays as read-only views of this node's shared memory."""
    ray = _ray()
    result: T = ray.get(ray.put(value))
    return result


def each(
    function: Callable[[Any, T], R],
    shared: S,
    items: Sequence[T],
    here: bool = False,
    keep: Callable[[S], Any] | None = None,
    num_gpus: float = 0.0,
) -> Iterator[R]:
    """Call function(shared, item) for every item, one to a CPU, and yield the results as they
    come; a call whose node is lost is made again.

    shared: goes once to each node. here: on this node alone, in this process where the node has
    no CPU for calls. keep: called with `shared` once by each worker, which then lives on; the
    function is given what it returned. num_gpus: of each worker. Raises what the function raises.
    """
    ray = _ray()
    if here and _cpus_here() < 1:
        given = shared if keep is None else keep(shared)
        yield from (function(given, item) for item in items)
        return
    here_alone = {"ray.io/node-id": ray.get_runtime_context().get_node_id()} if here else None
    reference = ray.put(shared)
    # Importing takes each worker seconds, which pass while Ray Data starts.
    warm = ray.remote(num_cpus=1, label_selector=here_alone)(_import)
    for _ in range(min(len(items), int(resources().get("CPU", 0)))):
        warm.remote("ray.data", "torch")
    import ray.data  # noqa: PLC0415

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the caller has its own
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # the caller hears what is raised

    def call(row: dict[str, Any], given: Any = None) -> dict[str, Any]:
        try:
            given = ray.get(reference) if keep is None else given
            return {"result": function(given, items[row["item"]])}
        except Exception as error:  # Ray Data's own wrapping loses some of them
            return {"result": _Raised(error)}

    class Keeper:
        def __init__(self) -> None:
            assert keep is not None
            self.kept = keep(ray.get(reference))

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            return call(row, self.kept)

    how: dict[str, Any] = {"num_cpus": 1, "num_gpus": num_gpus, "label_selector": here_alone}
    numbers = [{"item": number} for number in range(len(items))]
    rows = ray.data.from_items(numbers, override_num_blocks=max(1, len(items)))
    if keep is None:
        results = rows.map(call, **how)
    else:
        there = resources()
        room = there.get("GPU", 0) / num_gpus if num_gpus > 0 else there.get("CPU", 1)
        most = max(1, min(len(items), int(there.get("CPU", 1)), int(room)))
        if os.environ.get("RAY_ADDRESS") or len(nodes()) > 1:
            most = len(items)  # the cluster may grow
        results = rows.map(Keeper, concurrency=(1, most), **how)
    found = iter(results.iter_rows())
    _READ.append(found)
    try:
        for row in found:
            if isinstance(row["result"], _Raised):
                raise row["result"].error
            yield row["result"]
    finally:
        found.close()
        _READ.remove(found)


class _Raised(NamedTuple):
    """What a call raised, on its way to the caller."""

    error: Exception


def _import(*modules: str) -> None:
    gc.disable()  # it finds nothing in modules that load, and takes a fifth of the time
    for module in modules:
        importlib.import_module(module)
    gc.enable()


def _ray() -> ModuleType:
    import ray  # noqa: PLC0415  lazily: half of genae never needs it

    return ray
