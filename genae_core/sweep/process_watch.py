"""What a trial does when another of its processes ends before their training does."""

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch.distributed as dist

from genae_core.config.console import say
from genae_core.sweep import ray_cluster
from genae_core.sweep.ray_errors import one_line
from genae_core.training.snapshot_folder import Preempted

# The seconds in which this process notices that another one of its trial has ended.
GRACE_S = 30.0


class Watch(threading.Thread):
    """Waits for the failure of another process, and then ends all others of the trial.

    The next step of this process is then an error. A GPU may wait for the others without one, so
    this process ends itself if the training has not ended after GRACE_S, and Tune runs the trial
    again.

    Args:
        calls: What the other processes do.
        end: Ends them.
    """

    def __init__(self, calls: Sequence[Any], end: Callable[[], None]) -> None:
        super().__init__(name="processes of the trial", daemon=True)
        self.calls, self.end = list(calls), end
        self.over, self.judged = threading.Event(), threading.Event()
        self.cause: Exception | None = None

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()

    def run(self) -> None:
        self.cause = self._first_cause()
        self.judged.set()
        if self.cause is None:
            return
        self.end()
        if not self.over.wait(GRACE_S):
            say(f"a process of the trial has ended: {one_line(self.cause)}", error=True)
            os._exit(143)

    def _first_cause(self) -> Exception | None:
        """The first failure that is not the consequence of another one; None if there is none."""
        ray, waiting = ray_cluster.import_ray(), self.calls
        while waiting and not self.over.is_set():
            ended, waiting = ray.wait(waiting, timeout=0.5)
            for call in ended:
                try:
                    ray.get(call)
                except Exception as error:
                    if not is_of_the_group(error):
                        return error
        return None

    def find_cause(self) -> Exception | None:
        """The failure of another process that was the cause of an error in this one."""
        self.judged.wait(GRACE_S)
        return self.cause


def raise_cause(cause: Exception) -> NoReturn:
    """Raise the failure of another process.

    Raises:
        Preempted: The other process has died.
        RuntimeError: It has raised an error.
    """
    if isinstance(cause, ray_cluster.import_ray().exceptions.RayActorError):
        say(f"a process of the trial has died: {one_line(cause)}", error=True)
        raise Preempted from cause
    raised = getattr(cause, "cause", None) or cause  # Ray's own error holds the process's.
    reason = f"{type(raised).__name__}: {one_line(raised)}"
    raise RuntimeError(f"another process of the trial has failed: {reason}") from cause


def is_of_the_group(error: Exception) -> bool:
    """Whether torch.distributed raised the error, because another process has ended."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
