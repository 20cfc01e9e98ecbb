"""ClusterMapper: the PartMapper of a Ray cluster."""

import gc
import importlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from genae_core.config.own_functions import adopt_functions
from genae_core.config.registry import adopt
from genae_core.data.parts import map_here
from genae_core.sweep import ray_cluster
from genae_core.sweep.own_classes import classes_to_send, functions_to_send
from genae_core.sweep.ray_cluster import import_ray
from genae_core.sweep.ray_errors import translate_errors

Job = TypeVar("Job")
Part = TypeVar("Part")
Result = TypeVar("Result")
Row = dict[str, Any]  # a row of a Ray dataset: {"part": its number}, or {"result": a result}


@dataclass(frozen=True)
class ClusterMapper:
    """A PartMapper that gives each CPU of the cluster one part at a time.

    The job is sent once to each node. With `start`, a worker stays alive and does several parts.
    If a node is lost, its part is done again on another node.

    Args:
        node_local: Whether to work on this node only. If it has no CPU for workers, as the head
            of a cluster may have none, this process does the work.
        num_gpus: The GPUs of each worker; a fraction lets several workers share one.
    """

    node_local: bool = False
    num_gpus: float = 0.0

    def __call__(
        self,
        function: Callable[[Any, Part], Result],
        job: Job,
        parts: Sequence[Part],
        start: Callable[[Job], Any] | None = None,
    ) -> Iterator[Result]:
        """Yield the results in the order in which they finish. Raises what `function` raises."""
        if self.node_local and ray_cluster.local_cpus() < 1:
            yield from map_here(function, job, parts, start)
            return
        with translate_errors():
            yield from self._map(function, job, parts, start)

    def _map(
        self,
        function: Callable[[Any, Part], Result],
        job: Job,
        parts: Sequence[Part],
        start: Callable[[Job], Any] | None,
    ) -> Iterator[Result]:
        """Yield the results of the workers, in the order in which they finish."""
        ray = import_ray()
        node = ray.get_runtime_context().get_node_id()
        selector = {"ray.io/node-id": node} if self.node_local else None
        reference = ray.put((classes_to_send(), functions_to_send(), job))
        _import_early(len(parts), selector)
        import ray.data  # noqa: PLC0415

        _silence(ray.data)
        resources: Row = {"num_cpus": 1, "num_gpus": self.num_gpus, "label_selector": selector}
        numbers = [{"part": number} for number in range(len(parts))]
        rows = ray.data.from_items(numbers, override_num_blocks=max(1, len(parts)))
        if start is None:
            results = rows.map(_task(function, reference, parts), **resources)
        else:
            workers = (1, self._most_workers(len(parts)))
            actor = _actor(function, reference, parts, start)
            results = rows.map(actor, concurrency=workers, **resources)
        yield from _read(iter(results.iter_rows()))

    def _most_workers(self, num_parts: int) -> int:
        """The largest number of workers that the cluster may have at once."""
        if os.environ.get("RAY_ADDRESS") or len(ray_cluster.nodes()) > 1:
            return num_parts  # the cluster may grow
        total = ray_cluster.resources()
        cpus = total.get("CPU", 1)
        fitting = total.get("GPU", 0) / self.num_gpus if self.num_gpus > 0 else cpus
        return max(1, min(num_parts, int(cpus), int(fitting)))


class _Failure(NamedTuple):
    """An error that a worker raised, on its way to the caller."""

    error: Exception


def _call(function: Callable[[], Any]) -> Row:
    """The result as a row, or the error, since Ray Data loses some errors when it wraps them."""
    try:
        return {"result": function()}
    except Exception as error:
        return {"result": _Failure(error)}


def _receive(reference: Any) -> Any:
    """The job, in a worker, which also registers the user's own classes and functions."""
    classes, functions, job = import_ray().get(reference)
    adopt(classes)
    adopt_functions(functions)
    return job


def _task(
    function: Callable[[Any, Any], Any], reference: Any, parts: Sequence[Any]
) -> Callable[[Row], Row]:
    """The Ray task that does one part. It is a closure, so that Ray sends it by value."""

    def do_part(row: Row) -> Row:
        return _call(lambda: function(_receive(reference), parts[row["part"]]))

    return do_part


def _actor(
    function: Callable[[Any, Any], Any],
    reference: Any,
    parts: Sequence[Any],
    start: Callable[[Any], Any],
) -> type:
    """The class of the Ray actors that each call `start` once and then do parts."""

    class Worker:
        def __init__(self) -> None:
            self.worker = start(_receive(reference))

        def __call__(self, row: Row) -> Row:
            return _call(lambda: function(self.worker, parts[row["part"]]))

    return Worker


def _read(rows: Iterator[Row]) -> Iterator[Any]:
    """Yield the results of rows and raise the first error."""
    with ray_cluster.close_on_disconnect(rows):
        for row in rows:
            if isinstance(row["result"], _Failure):
                raise row["result"].error
            yield row["result"]


def _silence(data: Any) -> None:
    """Turn off Ray Data's own progress bars and messages; the caller shows progress and errors."""
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _import_early(num_parts: int, selector: dict[str, str] | None) -> None:
    """Let the workers import large libraries while Ray Data starts, which takes seconds too."""
    importer = import_ray().remote(num_cpus=1, label_selector=selector)(_import)
    for _ in range(min(num_parts, int(ray_cluster.resources().get("CPU", 0)))):
        importer.remote("ray.data", "torch")


def _import(*modules: str) -> None:
    """Import modules without garbage collection, which would take a fifth of the time."""
    gc.disable()
    for module in modules:
        importlib.import_module(module)
    gc.enable()
