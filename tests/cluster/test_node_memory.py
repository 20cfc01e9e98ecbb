"""The memory that Ray gets is a part of what is free for this process."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from genae_core.cluster import node_memory
from genae_core.cluster.node_memory import divide_memory

GIB = 2**30


@pytest.mark.parametrize(
    ("free", "shared", "store"),
    [
        (10 * GIB, 20 * GIB, 3 * GIB),
        (100 * GIB, 20 * GIB, 19 * GIB),
        (100 * GIB, 64 * 2**20, 10**10),  # a container with little shared memory
        (4 * GIB, 64 * 2**20, int(1.2 * GIB)),
        (0, 64 * 2**20, 80 * 2**20),
    ],
)
def test_the_store_and_the_tasks_share_what_is_free(
    free: int, shared: int, store: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_memory, "free_memory", lambda: free)
    monkeypatch.setattr(node_memory, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=shared))
    memory = divide_memory()
    assert memory.object_store == pytest.approx(store, abs=1)
    assert memory.tasks == max(0, free - memory.object_store)
