"""What a sweep asks of a cluster's nodes."""

import re
import shutil
import subprocess
import sys
from typing import Any

import pytest

from genae_core.sweep import ray_cluster
from genae_core.sweep.options import LaunchOptions

TWO = {"CPU": 2.0, "memory": 8.0 * 2**30}
GPUS = {"CPU": 16.0, "GPU": 2.0, "memory": 64.0 * 2**30}


def given(monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float]) -> None:
    monkeypatch.setattr(ray_cluster, "nodes", lambda: list(nodes))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, [2, 16]),
        ({"cpus_per_trial": 3}, [0, 5]),
        ({"gpus_per_trial": 0.5}, [0, 4]),
        ({"gpus_per_trial": "auto"}, [0, 2]),
        ({"memory_per_trial": 5}, [1, 12]),
    ],
)
def test_each_node_holds_what_its_scarcest_resource_allows(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], expected: list[int]
) -> None:
    given(monkeypatch, TWO, GPUS)
    assert ray_cluster.slots(LaunchOptions(**flags).trial_resources) == expected


def test_a_head_that_will_not_hold_them_is_not_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = LaunchOptions().trial_resources
    given(monkeypatch, TWO)
    assert ray_cluster.alone(trial, 0) and ray_cluster.alone(trial, 2)
    assert not ray_cluster.alone(trial, 3)
    given(monkeypatch, {"memory": 1.0})
    assert not ray_cluster.alone(trial, 1)  # a head without CPUs
    given(monkeypatch, TWO, TWO)
    assert not ray_cluster.alone(trial, 2)


ALONE = """
import os, re, subprocess
from genae_core.sweep import ray_cluster
ray_cluster.connect(None, 1)
rows = subprocess.run(["ss", "-tulnpH"], capture_output=True, text=True, check=True).stdout
for row in rows.splitlines():
    if any(os.getsid(int(pid)) == os.getsid(0) for pid in re.findall(r"pid=(\\d+)", row)):
        print("listens", row.split()[4])
ray_cluster.disconnect()
"""


@pytest.mark.skipif(shutil.which("ss") is None, reason="there is no ss")
def test_a_sweep_of_its_own_listens_on_loopback_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"listens (\S+)", done.stdout)
    assert len(found) > 3, done.stdout  # GCS, raylet, its agent
    assert all(re.match(r"127\.|\[(::ffff:127\.|::1\])", address) for address in found), found


HEAD = """
from genae_core.sweep import ray_cluster
ray_cluster.connect(None, 0)
print(list(ray_cluster.each(lambda given, item: given + item, 10, [1, 2, 3], here=True)))
kept = ray_cluster.each(lambda given, item: given + item, 10, [1], here=True, keep=lambda n: n * 2)
print(list(kept))
ray_cluster.disconnect()
"""


LEFT = """
import threading, time
from genae_core.sweep import ray_cluster

def call(refuses, item):
    if refuses and item == 3:
        raise OSError("the disk refuses")
    time.sleep(0.05)
    return item

def reading():
    return [t.name for t in threading.enumerate() if t.name.startswith(ray_cluster.THREADS)]

ray_cluster.connect(None, 2)
try:
    list(ray_cluster.each(call, True, list(range(30)), here=True))
except OSError as error:
    held = error  # with all its frames, as whoever shows it does
left = ray_cluster.each(call, False, list(range(30)), here=True)
print(next(left), len(reading()) > 0)
ray_cluster.disconnect()
print(held, reading())
"""


def test_a_process_that_leaves_has_left_no_thread_that_asks() -> None:
    """Ray would end it without a word, in the middle of what it has to say."""
    done = subprocess.run(
        [sys.executable, "-c", LEFT], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["0 True", "the disk refuses []"]


def test_a_head_without_cpus_does_itself_what_must_be_done_there() -> None:
    """Calls would wait for ever for CPUs that no other node can bring."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["[11, 12, 13]", "[21]"]
