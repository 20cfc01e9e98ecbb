"""How a node of Ray divides the memory of this process between its object store and its tasks.

Ray by itself divides the memory of the machine, or of the outermost control group.
"""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from genae_core.config.machine import free_memory

# Ray's own defaults. The object store lies in shared memory; if that is small, as in a container,
# the store may nevertheless have SMALLEST_CAP bytes, and Ray keeps it in a file.
STORE_FRACTION = 0.3
SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_FRACTION = 0.95
SMALLEST_CAP, LARGEST_STORE = 10 * 10**9, 200 * 10**9
MAC_STORE = 2 * 2**30
SMALLEST_STORE = 80 * 2**20  # Ray refuses less than 75 MiB


class NodeMemory(NamedTuple):
    """The bytes of a node's object store, and the bytes that its tasks may reserve."""

    object_store: int
    tasks: int


def divide_memory() -> NodeMemory:
    """Divide the memory that is free for this process."""
    free = free_memory()
    cap = LARGEST_STORE
    if SHARED_MEMORY.is_dir():
        shared = int(SHARED_MEMORY_FRACTION * shutil.disk_usage(SHARED_MEMORY).free)
        cap = min(cap, max(SMALLEST_CAP, shared))
    if sys.platform == "darwin":
        cap = min(cap, MAC_STORE)
    store = max(SMALLEST_STORE, min(cap, int(STORE_FRACTION * free)))
    return NodeMemory(store, max(0, free - store))
