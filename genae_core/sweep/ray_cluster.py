"""Join or start a Ray cluster, and ask for its nodes and resources."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from genae_core.cluster.node_memory import divide_memory
from genae_core.config.home import secret_file
from genae_core.config.machine import usable_cpus
from genae_core.config.redaction import redact_uri
from genae_core.sweep.options import accelerator
from genae_core.sweep.ray_errors import check_address, one_line, translate_errors

Value = TypeVar("Value")
Result = TypeVar("Result")

# The names of Ray Data's threads begin with these words. Such a thread ends soon after its results
# are closed. If it calls Ray after this process has left the cluster, it kills the process without
# a message, or starts another Ray.
THREADS = ("iter_threaded", "StreamingExecutor", "ray-data")
THREAD_TIMEOUT_S = 30.0
_OPEN_RESULTS: list[Any] = []  # results of Ray Data that are not read to their end yet
WATCH_S = 0.5
_STOP_WATCHING: list[threading.Event] = []  # the ends of the watches that run
# What a new worker imports before it gets a task, so that a trial begins at once.
PRELOADED = "genae_core.sweep.tune"
FIRST_WORKERS = "--num_prestart_python_workers="  # the argument of Ray's raylet
_OWN: list[bool] = []  # holds True while this process has a cluster that `connect` has started

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends no usage data by default
TIMED_OUT = "timed out during startup"  # in the message of Ray's node after 30 seconds


def connect(address: str | None, num_cpus: int | None = None, workers: int = 0) -> int:
    """Join a cluster, or start one on this machine. Returns the number of nodes.

    Args:
        address: The cluster to join. None means RAY_ADDRESS; if that is not set, a new cluster
            is started, with the memory that is free for this process.
        num_cpus: The number of CPUs of a new cluster; None takes all that this process may use.
        workers: The number of workers of one CPU that will be needed, of which a new cluster
            starts as many as it has CPUs at once.

    Raises:
        ValueError: No cluster answers at the address.
    """
    ray = import_ray()
    if ray.is_initialized():
        return len(nodes())
    address = check_cluster(address)
    handler = signal.getsignal(signal.SIGTERM)
    cpus = usable_cpus() if num_cpus is None else num_cpus
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        else:
            # A private cluster listens on loopback only. Ray read the variable when it was
            # imported, so its constant changes too; new processes read the variable.
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
            ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
            memory = divide_memory()
            _make_token()
            first = min(cpus, workers)
            with _only_what_runs_tasks(ray, first):
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    object_store_memory=memory.object_store,
                    _memory=memory.tasks,
                    _system_config=_first_workers(first),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                )
            _OWN.append(True)
    except Exception as error:  # Ray raises errors of many kinds here.
        raise _no_cluster(address, error) from error
    finally:
        # Ray has its own handler, and below it one that prints the stack of its C++ code.
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)
    return len(nodes())


def _first_workers(workers: int) -> dict[str, Any]:
    """The settings of a new cluster that starts so many workers at once.

    They import what a trial needs while this process reads the data.
    """
    return {
        "prestart_worker_first_driver": workers > 0,
        "preload_python_modules": [PRELOADED] if workers else [],
    }


def check_cluster(address: str | None) -> str | None:
    """Check that a cluster answers, before anything else is done.

    Args:
        address: The cluster to join. None means RAY_ADDRESS.

    Returns:
        The address of the cluster to join, or None if there is none.

    Raises:
        ValueError: No cluster answers at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if not address:
        return None
    try:
        check_address(address)
    except Exception as error:  # Ray looks for the cluster of "auto".
        raise _no_cluster(address, error) from error
    return address


def _no_cluster(address: str | None, error: Exception) -> ValueError:
    """The error for people if there is no cluster at the address, or none could be started."""
    text = one_line(error)
    if address is not None:
        return ValueError(
            f"no Ray cluster could be used at {redact_uri(address)}: {text}; check "
            "--ray-address, and RAY_AUTH_MODE and its token if the cluster requires one"
        )
    busy = (
        "Ray waits 30 seconds for its own start, and a busy machine may need longer: start the "
        "command again when other programs have less to do"
    )
    hint = busy if TIMED_OUT in text else "mend what Ray says"
    return ValueError(
        f"Ray could not be started on this machine: {text}; {hint}, or join a cluster with "
        "--ray-address"
    )


@contextlib.contextmanager
def _only_what_runs_tasks(ray: ModuleType, workers: int) -> Iterator[None]:
    """In this context, a new cluster is only what runs tasks, with so many workers at first.

    A private cluster never grows, nobody reads its workers' logs, and no dashboard is asked for.
    Ray would start an autoscaler, a reader of logs and a dashboard's server for them all the same,
    three processes of 100 MB, and `ray.init` has no arguments that leave them out. Its agent would
    wait for four seconds for a port that another Ray of this machine has. It would start a worker
    for each CPU, or none.
    """
    parameters, services = ray._private.parameter, ray._private.services
    before = parameters.RayParams, services.start_api_server, services.start_ray_process

    def start(command: list[str], *arguments: Any, **more: Any) -> Any:
        known = [word for word in command if not word.startswith(FIRST_WORKERS)]
        said = [f"{FIRST_WORKERS}{workers}"] if len(known) < len(command) else []
        return before[2](known + said, *arguments, **more)

    parameters.RayParams = partial(
        before[0], no_monitor=True, include_log_monitor=False, dashboard_agent_listen_port=0
    )
    services.start_api_server = lambda *_, **__: ("", None)
    services.start_ray_process = start
    try:
        yield
    finally:
        parameters.RayParams, services.start_api_server, services.start_ray_process = before


def _make_token() -> None:
    """Make the token of Ray's own clusters of this user, if Ray would make it now.

    Several launches may need it first at the same time. Ray then overwrites the token that another
    launch uses already.
    """
    variables = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    if not any(os.environ.get(name) for name in variables):
        secret_file(Path.home() / ".ray" / "auth_token")


def disconnect() -> None:
    """Leave the cluster, or stop it if `connect` started it."""
    for over in _STOP_WATCHING:
        over.set()
    for results in tuple(_OPEN_RESULTS):
        results.close()
    for thread in threading.enumerate():
        if thread.name.startswith(THREADS):
            thread.join(THREAD_TIMEOUT_S)
    _OWN.clear()
    import_ray().shutdown()


@contextlib.contextmanager
def watch_servers(on_death: Callable[[str], None]) -> Iterator[None]:
    """During the block, watch the servers of a Ray that `connect` started on this machine.

    After one of them has died, calls of Ray may wait for a minute, and then its C++ code ends this
    process without an exception.

    on_death: Called in another thread with the name of a server that has ended.
    """
    over = threading.Event()
    import_ray()  # before another thread does

    def watch() -> None:
        while not over.wait(WATCH_S):
            name = _dead_server()
            if name is not None and not over.is_set():
                on_death(name)

    thread = threading.Thread(target=watch, name="servers of Ray", daemon=True)
    thread.start()
    _STOP_WATCHING.append(over)
    try:
        yield
    finally:
        over.set()
        _STOP_WATCHING.remove(over)


def _dead_server() -> str | None:
    """The name of a server of this process's own Ray that has ended."""
    node = import_ray()._private.worker._global_node
    for name in ("gcs_server", "raylet") if node is not None else ():
        for server in node.all_processes.get(name, ()):
            if server.process.poll() is not None:
                return name
    return None


@contextlib.contextmanager
def close_on_disconnect(results: Any) -> Iterator[None]:
    """Close Ray Data's results at the end of the block, or when this process disconnects."""
    _OPEN_RESULTS.append(results)
    try:
        yield
    finally:
        results.close()
        _OPEN_RESULTS.remove(results)


def is_own() -> bool:
    """Whether `connect` has started the cluster, as a private one of this process."""
    return bool(_OWN)


def is_connected() -> bool:
    """Whether this process is part of a cluster."""
    return bool(import_ray().is_initialized())


def make_metric(kind: str, name: str, arguments: dict[str, Any]) -> Any:
    """A new metric of Ray's: a Counter, a Gauge or a Histogram."""
    from ray.util import metrics  # noqa: PLC0415

    return getattr(metrics, kind)(name, **arguments)


def slots(trial: dict[str, float]) -> list[int]:
    """The number of trials that fit on each node.

    trial: the resources of one trial: cpu, gpu, memory in bytes, and the type of its accelerator.
    """
    names = {"cpu": "CPU", "gpu": "GPU"}
    needed = {names.get(name, name): amount for name, amount in trial.items() if amount > 0}
    counts = []
    for node in nodes():
        counts.append(min(int(node.get(name, 0) // amount) for name, amount in needed.items()))
    return counts


def accelerator_types() -> list[str]:
    """The types of accelerators that the nodes have, by Ray's names."""
    prefix = accelerator("")
    names = {name for node in nodes() for name in node if name.startswith(prefix)}
    return sorted(name.removeprefix(prefix) for name in names)


def single_node_fits(trial: dict[str, float], parallel: int) -> bool:
    """Whether the cluster is one node with room for `parallel` trials, so that it never grows."""
    return len(nodes()) == 1 and parallel <= sum(slots(trial))


def nodes() -> list[dict[str, float]]:
    """The resources of each node that is alive, e.g. {"CPU": 2.0, "GPU": 1.0}."""
    with translate_errors():
        return [node["Resources"] for node in import_ray().nodes() if node["Alive"]]


def resources() -> dict[str, float]:
    """The resources of the whole cluster, e.g. {"CPU": 2.0, "GPU": 1.0}."""
    with translate_errors():
        total: dict[str, float] = import_ray().cluster_resources()
    return total


def call_once(
    function: Callable[..., Result],
    *arguments: Any,
    cpus: int = 1,
    gpus: float = 0.0,
    accelerator_type: str | None = None,
) -> Result:
    """Call the function on a node that reserves these CPUs and GPUs for it.

    The call waits until the cluster has them. Raises what the function raises.
    """
    ray = import_ray()
    # max_calls=1 gives the call its own process, so that it leaves nothing on a GPU.
    call = ray.remote(
        num_cpus=cpus,
        num_gpus=gpus,
        accelerator_type=accelerator_type,
        max_calls=1,
        max_retries=0,
    )(function)
    with translate_errors():
        result: Result = ray.get(call.remote(*arguments))
    return result


def call_on_each_node(
    function: Callable[..., Result], *arguments: Any
) -> list[tuple[str, Result]]:
    """Call the function on each node that is alive, beside whatever runs there.

    Returns the name of each node's host with the result. Raises what the function raises.
    """
    ray = import_ray()
    from ray.util.scheduling_strategies import (  # noqa: PLC0415
        NodeAffinitySchedulingStrategy,
    )

    with translate_errors():
        calls = []
        for node in ray.nodes():
            if node["Alive"]:
                place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                call = ray.remote(num_cpus=0, scheduling_strategy=place)(function)
                calls.append((node["NodeManagerHostname"], call.remote(*arguments)))
        return [(host, ray.get(call)) for host, call in calls]


@contextlib.contextmanager
def request_nodes(trial: dict[str, float], count: int) -> Iterator[None]:
    """During the block, ask the autoscaler for the nodes of `count` trials.

    The nodes can then start together with the node of the first trial. If the cluster already has
    room for a trial, no nodes are requested. Nothing is reserved: the requests end with the block
    or with this process.
    """
    ray = import_ray()
    kinds = {name: amount for name, amount in trial.items() if name.startswith(accelerator(""))}
    call = ray.remote(
        num_cpus=trial.get("cpu", 0),
        num_gpus=trial.get("gpu", 0),
        memory=trial.get("memory"),
        resources=kinds,
    )(_do_nothing)
    requests = [] if sum(slots(trial)) else [call.remote() for _ in range(count)]
    try:
        yield
    finally:
        for request in requests:
            ray.cancel(request)


def _do_nothing() -> None:
    pass


def local_cpus() -> float:
    """The CPUs that this process's node offers to Ray; the head of a cluster may offer none."""
    own_id = import_ray().get_runtime_context().get_node_id()
    (own_node,) = (node for node in import_ray().nodes() if node["NodeID"] == own_id)
    return float(own_node["Resources"].get("CPU", 0))


def object_store_bytes() -> float:
    """The shared memory of one node, in bytes."""
    return float(resources().get("object_store_memory", 0)) / len(nodes())


def share(value: Value) -> Value:
    """Move the value's arrays to this node's shared memory; they become read-only views of it."""
    ray = import_ray()
    with translate_errors():
        result: Value = ray.get(ray.put(value))
    return result


def import_ray() -> ModuleType:
    """Import Ray when it is first needed, since half of genae never needs it."""
    import ray  # noqa: PLC0415

    return ray
