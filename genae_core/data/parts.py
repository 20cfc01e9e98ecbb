"""PartMapper: who calls a function for every part of a large job, here or on a cluster."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Job = TypeVar("Job")
Part = TypeVar("Part")
Result = TypeVar("Result")


class PartMapper(Protocol):
    """Calls a function for every part of a job and yields the results as they come."""

    def __call__(
        self,
        function: Callable[[Any, Part], Result],
        job: Job,
        parts: Sequence[Part],
        start: Callable[[Job], Any] | None = None,
    ) -> Iterator[Result]:
        """Yield `function(worker, part)` for every part, in any order.

        Args:
            function: Does the work of one part.
            job: The description that all parts share; it may travel to other processes.
            parts: The parts of the job.
            start: Makes from the job what `function` receives as `worker`, once in each
                process, e.g. a model on its device. None passes the job itself.

        Raises:
            Exception: Whatever `function` or `start` raises.
        """


def map_here(
    function: Callable[[Any, Part], Result],
    job: Job,
    parts: Sequence[Part],
    start: Callable[[Job], Any] | None = None,
) -> Iterator[Result]:
    """A PartMapper that works in this process, one part after the other."""
    worker = job if start is None else start(job)
    return (function(worker, part) for part in parts)


@dataclass(frozen=True)
class ChosenMapper:
    """A PartMapper that chooses another one when it knows the job and the parts.

    choose: called with both; it may start a cluster first.
    """

    choose: Callable[[Any, Sequence[Any]], PartMapper]

    def __call__(
        self,
        function: Callable[[Any, Part], Result],
        job: Job,
        parts: Sequence[Part],
        start: Callable[[Job], Any] | None = None,
    ) -> Iterator[Result]:
        return self.choose(job, parts)(function, job, parts, start)
