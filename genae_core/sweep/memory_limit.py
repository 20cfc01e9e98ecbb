"""The limit of a trial's memory (--memory-per-trial), and what a worker takes without a trial.

The limit is about the memory of the trial's process alone. The images, which all trials of a node
share, do not count.
"""

import contextlib
import gc
import importlib
import resource
import sys
from collections.abc import Iterator

import psutil
import torch

# The smallest trial needs about this number of bytes beside what its worker takes.
SMALLEST_TRIAL = 256 * 2**20
# The addresses that the threads of a trial reserve for their stacks, and of which they hardly use
# anything: about 30 threads of 8 MiB.
STACKS = 256 * 2**20


@contextlib.contextmanager
def limit_memory(limit: int | None) -> Iterator[None]:
    """During the block, let allocations fail that would take this process beyond `limit` bytes.

    The system limits the addresses that a process reserves for its data. Python, PyTorch and Ray
    reserve far more than they use, so the block may reserve as much as the limit leaves beside
    what is in use at its beginning. A worker runs one trial after another: each has its own limit,
    and between two trials there is none. On other systems than Linux, nothing is limited.
    """
    if limit is None or sys.platform != "linux":
        yield
        return
    gc.collect()  # what the trial before left in cycles is not this trial's
    before = resource.getrlimit(resource.RLIMIT_DATA)
    reserved = psutil.Process().memory_info().data
    most = reserved + max(0, limit - private_memory()) + STACKS
    resource.setrlimit(resource.RLIMIT_DATA, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def private_memory() -> int:
    """The bytes of memory that this process uses and shares with no other."""
    memory = psutil.Process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))  # only Linux says what is shared


def measure_idle(gpu: bool) -> int:
    """The bytes that this process, a worker, uses once it has imported what a trial needs."""
    importlib.import_module("genae_core.sweep.tune")
    if gpu and torch.cuda.is_available():
        torch.zeros(1, device="cuda")  # The memory of the driver counts too.
    return private_memory()
