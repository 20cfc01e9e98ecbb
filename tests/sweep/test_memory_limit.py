"""A trial that takes more than --memory-per-trial fails alone, and a limit that is too small is
refused."""

import json
import subprocess
import sys

import pytest

from genae_core.sweep import driver, ray_cluster
from genae_core.sweep.memory_limit import SMALLEST_TRIAL
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.tune import _describe

GIB = 2**30
# In a process that has reserved more addresses than each limit, as a worker of Ray has.
TRIALS = """
import json, mmap, resource, sys, threading
import numpy as np
import torch
from genae_core.sweep.memory_limit import limit_memory, private_memory

reserved = mmap.mmap(-1, 4 * 2**30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
soft = resource.getrlimit(resource.RLIMIT_DATA)

def take(mib, step):
    held = []
    for _ in range(mib // step):
        held.append(np.ones(step * 2**20, np.uint8))
    return torch.ones(2**20)

def threads(count):
    started = [threading.Thread(target=threading.Event().wait, args=(0.2,)) for _ in range(count)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()

def trial(function, *arguments, room=300):
    base = private_memory()
    try:
        with limit_memory(base + room * 2**20):
            function(*arguments)
    except (MemoryError, RuntimeError) as error:
        result = type(error).__name__
    else:
        result = "done"
    assert resource.getrlimit(resource.RLIMIT_DATA) == soft
    return result

print(json.dumps([
    trial(take, 200, 10),                    # below the limit
    trial(take, 290, 290),                   # almost at the limit
    trial(take, 700, 10),                    # little by little beyond it
    trial(take, 700, 700),                   # beyond it at once
    trial(torch.empty, 2**32),               # PyTorch's own error
    trial(take, 200, 10),                    # the next trial of the same process
    trial(threads, 20),                      # threads that use almost nothing
    trial(take, 700, 100, room=1000),
    trial(take, 700, 700, room=-1000),       # a limit below what the process has
]))
with limit_memory(None):
    take(700, 100)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_a_trial_may_use_its_limit_and_no_more() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRIALS], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        "done",
        "done",
        "MemoryError",
        "MemoryError",
        "RuntimeError",
        "done",
        "done",
        "done",
        "MemoryError",
    ]


@pytest.mark.parametrize(
    ("memory", "refused"),
    [(0.01, True), (0.5, True), (0.74, True), (0.75, False), (8.0, False), (None, False)],
)
def test_a_limit_that_leaves_a_trial_nothing_is_refused_with_both_figures(
    memory: float | None, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ray_cluster, "call_once", lambda *_, **__: int(0.75 * GIB) - SMALLEST_TRIAL
    )
    options = LaunchOptions(memory_per_trial=memory)
    if not refused:
        driver._check_memory(options)
        return
    text = f"takes 0.50 GiB .* must be at least 0.75, got memory_per_trial={memory}"
    with pytest.raises(ValueError, match=text):
        driver._check_memory(options)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3.81 GiB for an array"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        RuntimeError("could not create a memory object"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_every_error_without_memory_has_the_advice(error: Exception) -> None:
    assert _describe(error).startswith("out of memory (give it more with --memory-per-trial")
