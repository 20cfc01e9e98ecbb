"""The CPUs and the memory of this process, under real affinity and the files of cgroups."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from threadpoolctl import ThreadpoolController, threadpool_limits

from genae_core.config import cli, machine
from genae_core.config.machine import free_memory, usable_cpus, usable_memory

GIB = 2**30


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a machine with 8 CPUs and 32 GiB, 24 of them free, that has no cgroups yet."""
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setattr(machine, "_allowed_cpus", lambda: 8)
    memory = SimpleNamespace(total=32 * GIB, available=24 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    return tmp_path


def write(root: Path, files: dict[str, str | int]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def mount_v2(root: Path, group: str, base: str = "/") -> None:
    mount = f"29 23 0:26 {base} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
    other = "23 1 8:1 / / rw - ext4 /dev/sda1 rw"
    write(root, {"proc/self/cgroup": f"0::{group}", "proc/self/mountinfo": f"{other}\n{mount}"})


def mount_v1(root: Path, group: str, base: str = "/") -> None:
    """The controllers that Docker mounts; version 2 holds none of them."""
    mounts = [
        f"32 31 0:29 {base} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
        f"35 31 0:32 {base} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
    ]
    groups = [f"4:memory:{group}", f"2:cpu,cpuacct:{group}", "1:name=systemd:/", "0::/"]
    write(
        root,
        {"proc/self/cgroup": "\n".join(groups), "proc/self/mountinfo": "\n".join(mounts)},
    )


def test_without_cgroups_the_machine_is_the_process_s(root: Path) -> None:
    assert (usable_cpus(), usable_memory(), free_memory()) == (8, 32 * GIB, 24 * GIB)
    mount_v2(root, "/")
    assert (usable_cpus(), usable_memory(), free_memory()) == (8, 32 * GIB, 24 * GIB)


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("1600000 100000", 8),
        ("30000 10000", 3),
    ],
)
def test_a_quota_of_version_2_is_rounded_up(root: Path, quota: str, cpus: int) -> None:
    mount_v2(root, "/job")
    write(root, {"sys/fs/cgroup/job/cpu.max": quota})
    assert usable_cpus() == cpus


@pytest.mark.parametrize(
    ("quota", "period", "cpus"),
    [(-1, 100000, 8), (200000, 100000, 2), (150000, 100000, 2), (50000, 100000, 1)],
)
def test_a_quota_of_version_1_is_rounded_up(
    root: Path, quota: int, period: int, cpus: int
) -> None:
    mount_v1(root, "/docker/abc")
    group = "sys/fs/cgroup/cpu,cpuacct/docker/abc"
    write(root, {f"{group}/cpu.cfs_quota_us": quota, f"{group}/cpu.cfs_period_us": period})
    assert usable_cpus() == cpus


@pytest.mark.parametrize("level", ["", "a/", "a/b/", "a/b/c/"])
def test_the_limits_of_all_groups_around_hold(root: Path, level: str) -> None:
    mount_v2(root, "/a/b/c")
    for folder in ("", "a/", "a/b/", "a/b/c/"):
        write(root, {f"sys/fs/cgroup/{folder}cpu.max": "700000 100000"})
        write(root, {f"sys/fs/cgroup/{folder}memory.max": "max"})
    write(root, {f"sys/fs/cgroup/{level}cpu.max": "300000 100000"})
    write(root, {f"sys/fs/cgroup/{level}memory.max": 4 * GIB})
    assert (usable_cpus(), usable_memory()) == (3, 4 * GIB)


def test_another_group_s_limit_does_not_hold(root: Path) -> None:
    mount_v2(root, "/a/b")
    write(root, {"sys/fs/cgroup/a/other/cpu.max": "100000 100000"})
    write(root, {"sys/fs/cgroup/a/b/below/memory.max": GIB})
    assert (usable_cpus(), usable_memory()) == (8, 32 * GIB)


def test_the_lower_limit_of_version_2_decides(root: Path) -> None:
    mount_v2(root, "/job")
    write(root, {"sys/fs/cgroup/job/memory.max": 8 * GIB, "sys/fs/cgroup/job/memory.high": "max"})
    assert usable_memory() == 8 * GIB
    write(root, {"sys/fs/cgroup/job/memory.high": 6 * GIB})
    assert usable_memory() == 6 * GIB


def test_version_1_limits_memory(root: Path) -> None:
    mount_v1(root, "/docker/abc")
    limit = "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes"
    write(root, {limit: 9223372036854771712})  # no limit
    assert usable_memory() == 32 * GIB
    write(root, {limit: 3 * GIB})
    assert usable_memory() == 3 * GIB


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_sees_its_own_group_at_the_top(root: Path, version: int) -> None:
    """Docker mounts the container's group itself, and may name the host's path of it."""
    mount = mount_v1 if version == 1 else mount_v2
    mount(root, "/docker/abc", base="/docker/abc")
    memory = "memory/memory.limit_in_bytes" if version == 1 else "memory.max"
    write(root, {f"sys/fs/cgroup/{memory}": 2 * GIB})
    assert usable_memory() == 2 * GIB
    mount(root, "/../elsewhere")  # moved outside of its namespace
    assert usable_memory() == 2 * GIB


def test_memory_that_a_group_uses_is_not_free_but_cached_files_are(root: Path) -> None:
    mount_v2(root, "/job")
    group = "sys/fs/cgroup/job"
    stat = f"anon {GIB}\nfile {2 * GIB}\ninactive_file {GIB}\nactive_file {GIB // 2}\n"
    write(root, {f"{group}/memory.max": 6 * GIB, f"{group}/memory.current": 4 * GIB})
    assert free_memory() == 2 * GIB
    write(root, {f"{group}/memory.stat": stat})
    assert free_memory() == 3.5 * GIB
    write(root, {f"{group}/memory.current": 9 * GIB})
    assert free_memory() == 0
    mount_v1(root, "/job")
    group = "sys/fs/cgroup/memory/job"
    stat = f"inactive_file 0\ntotal_inactive_file {GIB}\ntotal_active_file 0\n"
    limits = {"memory.limit_in_bytes": 5 * GIB, "memory.usage_in_bytes": 3 * GIB}
    write(root, {f"{group}/{name}": value for name, value in limits.items()})
    write(root, {f"{group}/memory.stat": stat})
    assert free_memory() == 3 * GIB


@pytest.mark.skipif(shutil.which("taskset") is None, reason="there is no taskset")
def test_affinity_limits_the_cpus() -> None:
    (first, *_) = sorted(os.sched_getaffinity(0))
    code = "from genae_core.config.machine import usable_cpus; print(usable_cpus())"
    done = subprocess.run(
        ["taskset", "-c", str(first), sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"


def test_this_machine_has_cpus_and_memory() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
    assert 0 < free_memory() <= usable_memory() <= psutil.virtual_memory().total


def test_a_script_computes_with_no_more_threads_than_cpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()
    with threadpool_limits(3):
        torch.set_num_threads(3)
        try:
            for cpus, threads in ((4, 3), (2, 2)):
                monkeypatch.setattr(cli, "usable_cpus", lambda cpus=cpus: cpus)
                cli._limit_threads()
                assert torch.get_num_threads() == threads
                blas = ThreadpoolController().select(user_api="blas").lib_controllers
                assert {library.num_threads for library in blas} <= {threads}
        finally:
            torch.set_num_threads(before)
