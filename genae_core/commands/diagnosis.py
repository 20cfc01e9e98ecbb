"""The parts of `genae doctor`. Each yields lines, and raises an error if something is not well.

A library that is missing is imported by the part that needs it, so that the others are shown.
"""

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator

import genae_core as genae
from genae_core import experiment, tracking
from genae_core.cluster import local_node
from genae_core.config.home import code_version, default_store, home
from genae_core.config.machine import free_memory, usable_cpus, usable_memory
from genae_core.config.network import check_url
from genae_core.config.places import is_sqlite, sqlite_path
from genae_core.config.redaction import redact_uri
from genae_core.data.storage import Folder
from genae_core.sweep import ray_cluster

NEEDED = ("torch", "numpy", "safetensors", "scikit-learn", "pyarrow", "tyro")
OF_SWEEPS = ("ray", "optuna", "mlflow", "matplotlib")
OTHERS = ("torchvision",)
GIB = 2**30


def describe_genae() -> Iterator[str]:
    """The version and the commit."""
    version = code_version()
    dirty = ", with changes" if version["git_dirty"] == "true" else ""
    yield f"{genae.__version__}, commit {version['git_commit']}{dirty}"


def describe_system() -> Iterator[str]:
    """The operating system and Python."""
    yield f"{platform.platform()}, Python {platform.python_version()} in {sys.prefix}"


def describe_packages() -> Iterator[str]:
    """The versions of packages. Raises ValueError if one is missing that a sweep needs."""
    versions = {}
    for name in (*NEEDED, *OF_SWEEPS, *OTHERS):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "missing"
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    if any(versions[name] == "missing" for name in (*NEEDED, *OF_SWEEPS)):
        raise ValueError(f"{text}; install them with pip install 'genae[sweep]'")
    yield text


def describe_devices() -> Iterator[str]:
    """The CPU and the GPUs, and the precisions in which they compute."""
    yield from experiment.describe_devices()


def describe_memory() -> Iterator[str]:
    """The memory and the CPUs that this process may use."""
    free, usable = free_memory() / GIB, usable_memory() / GIB
    yield f"{free:.1f} of {usable:.1f} GiB free, {usable_cpus()} of {os.cpu_count()} CPUs"


def describe_disks() -> Iterator[str]:
    """The free space for genae's files and for temporary ones."""
    for name, folder in (("GENAE_HOME", home()), ("temporary files", tempfile.gettempdir())):
        disk = shutil.disk_usage(folder)
        yield f"{disk.free / GIB:.1f} of {disk.total / GIB:.1f} GiB free in {folder} ({name})"


def describe_store(tracking_uri: str | None) -> Iterator[str]:
    """Whether the tracking store answers."""
    uri = tracking.resolve_uri(tracking_uri or default_store())
    tracking.check_store(uri)
    is_new = is_sqlite(uri) and not sqlite_path(uri).exists()
    yield f"{redact_uri(uri)} {'will be made by the first sweep' if is_new else 'answers'}"


def describe_storage(place: str | None) -> Iterator[str]:
    """Whether a folder or an object store answers."""
    if place is None:
        yield "none is named"
        return
    folder = Folder(place)
    there = "is there" if folder.exists() else "answers, and the folder is not there yet"
    folder.check_writable()
    yield f"{redact_uri(folder.uri)} {there}"


def describe_cluster(address: str | None) -> Iterator[str]:
    """Whether the Ray cluster answers that a sweep would join."""
    cluster = ray_cluster.check_cluster(address)
    yield (
        f"{redact_uri(cluster)} answers" if cluster else "none is set: a sweep starts its own Ray"
    )


def describe_node() -> Iterator[str]:
    """Whether the node of `genae node` is up."""
    node = local_node.running_node()
    if node is None:
        yield "down"
        return
    check_url(f"{node.address}/api/version", use_proxies=False)
    yield f"up at {node.address}"
