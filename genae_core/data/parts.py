"""A PartMapper calls a function for every part of a large job, here or on a cluster."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Job = TypeVar("Job")
Part = TypeVar("Part")
Result = TypeVar("Result")


class PartMapper(Protocol):
    """Calls a function for every part of a job, and yields each result when it is ready."""

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
            job: The description that all parts share. It may be sent to other processes.
            parts: The parts of the job.
            start: Makes the `worker` that `function` receives, from the job and once in each
                process. A worker may be a model on its device. None passes the job itself.

        Yields:
            The result of each part.

        Raises:
            Exception: Any exception that `function` or `start` raises.
        """


def map_here(
    function: Callable[[Any, Part], Result],
    job: Job,
    parts: Sequence[Part],
    start: Callable[[Job], Any] | None = None,
) -> Iterator[Result]:
    """A PartMapper that does the parts one after the other in this process.

    Args:
        function: As in `PartMapper`.
        job: As in `PartMapper`.
        parts: As in `PartMapper`.
        start: As in `PartMapper`.

    Returns:
        An iterator over the results, in the order of the parts.
    """
    worker = job if start is None else start(job)
    return (function(worker, part) for part in parts)


@dataclass(frozen=True)
class ChosenMapper:
    """A PartMapper that chooses another PartMapper when it knows the job and the parts.

    Args:
        choose: Chooses from the job and the parts. It may start a cluster first.
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
