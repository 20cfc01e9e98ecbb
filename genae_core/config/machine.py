"""The CPUs and the memory that this process may use, which may be less than the machine has.

A batch system or taskset limits the CPUs of a process. On Linux, a container or a service limits
also the time on the CPUs and the memory, with control groups (cgroups) of version 1 or 2. A group
lies in other groups, and the limits of all of them hold.
"""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path("/")  # the tests use another one


class MemoryFiles(NamedTuple):
    """The files of a control group about memory, and the words in its statistics.

    Attributes:
        limits: The files that hold a limit.
        usage: The file that holds what the group's processes use, with the cached files.
        cached: The beginnings of the lines of memory.stat about cached files, which the system
            drops if it needs the memory.
    """

    limits: tuple[str, ...]
    usage: str
    cached: tuple[str, ...]


VERSIONS = (
    MemoryFiles(("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file")),
    MemoryFiles(
        ("memory.limit_in_bytes",),
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
)


def usable_cpus() -> int:
    """The number of CPUs that this process may use, at least 1.

    It counts the CPUs on which the process may run. If the process may use all of them only for a
    part of the time, the number is smaller: a quota of 1.5 CPUs counts as 2.
    """
    quotas = [quota for group in _groups("cpu") if (quota := _cpu_quota(group)) is not None]
    return max(1, math.ceil(min([_allowed_cpus(), *quotas])))


def usable_memory() -> int:
    """The bytes of memory that this process and those around it may use together."""
    limits = [
        limit
        for group in _groups("memory")
        for version in VERSIONS
        for limit in _memory_limits(group, version)
    ]
    return min([int(psutil.virtual_memory().total), *limits])


def free_memory() -> int:
    """The bytes of memory that are still free for this process, at least 0."""
    free = [int(psutil.virtual_memory().available)]
    for group in _groups("memory"):
        for version in VERSIONS:
            limits = _memory_limits(group, version)
            usage = _read_words(group / version.usage)
            if limits and usage:
                free.append(min(limits) - int(usage[0]) + _cached_bytes(group, version))
    return max(0, min(free))


def _allowed_cpus() -> int:
    """The number of CPUs on which the system lets this process run."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_quota(group: Path) -> float | None:
    """The CPUs whose time the group may use; None without a limit."""
    quota = _read_words(group / "cpu.max")  # version 2: the quota and its period, or "max"
    if not quota:
        quota = _read_words(group / "cpu.cfs_quota_us") + _read_words(group / "cpu.cfs_period_us")
    if len(quota) < 2 or not quota[0].isdigit() or int(quota[1]) == 0:
        return None  # version 1 writes -1 if there is no limit
    return int(quota[0]) / int(quota[1])


def _memory_limits(group: Path, version: MemoryFiles) -> list[int]:
    """The group's limits in bytes."""
    words = [word for name in version.limits for word in _read_words(group / name)]
    return [int(word) for word in words if word.isdigit()]  # version 2 writes "max" without one


def _cached_bytes(group: Path, version: MemoryFiles) -> int:
    words = _read_words(group / "memory.stat")
    values = dict(zip(words[::2], words[1::2], strict=False))
    return sum(int(values.get(name, 0)) for name in version.cached)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of all groups around it.

    Args:
        controller: What the groups limit: "cpu" or "memory".
    """
    paths = {}  # the process's group, by controller; version 2 has one for all, without a name
    for line in _read_lines("proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    for line in _read_lines("proc/self/mountinfo"):
        mount, _, kind = line.partition(" - ")
        base, mount_point = mount.split()[3:5]
        kind, _, options = kind.split(maxsplit=2)
        name = "" if kind == "cgroup2" else controller
        if kind not in ("cgroup", "cgroup2") or (name and name not in options.split(",")):
            continue
        top = ROOT / mount_point.replace("\\040", " ").lstrip("/")
        group = top / _below(base, paths.get(name, "/"))
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _below(base: str, path: str) -> str:
    """The path of a group in a mount that shows the group `base` and those in it."""
    if ".." in path or not Path(path).is_relative_to(base):
        return ""  # The group lies outside of what this container sees.
    return str(Path(path).relative_to(base))


def _read_lines(name: str) -> list[str]:
    """The lines of a file of the system; none if there is no such file."""
    with suppress(OSError):
        return (ROOT / name).read_text().splitlines()
    return []


def _read_words(path: Path) -> list[str]:
    """The words of a file of a group; none if the group has no such file."""
    with suppress(OSError):
        return path.read_text().split()
    return []
