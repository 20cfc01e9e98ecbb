"""The suite "data": the time to prepare shards, and the time and memory to read them."""

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import simplejpeg
import torch
from torch.nn import functional as F

from genae_core.data.base import Split
from genae_core.data.shard_images import open_shards
from genae_core.data.storage import Folder
from genae_core.distributions.rng import Draw
from genae_core.sweep import ray_cluster
from genae_core.sweep.cluster_mapper import ClusterMapper
from genae_core.training.batches import Batches

from .rows import Row

HERE = Path(__file__).resolve().parent
DISTINCT = 1_000  # number of different images; further files repeat them
READERS = 4  # trials that read at the same time


def rows(count: int, repeats: int, folder: Path) -> list[Row]:
    """Time prepare_data.py and plain loops in two processes, with their start; then compare an
    epoch from shared memory with one from private memory, in time and memory."""
    raw = folder / "raw"
    generate(raw, count)
    arms: dict[str, Callable[[Path], list[str]]] = {
        "prepare": lambda out: [
            str(HERE.parent / "prepare_data.py"),
            *("image_folder", "--raw", str(raw), "--out", str(out), "--crop", str(148 / 178)),
        ],
        "simplejpeg": lambda out: [str(HERE / "plain_loops.py"), "simplejpeg", str(raw), str(out)],
        "pil": lambda out: [str(HERE / "plain_loops.py"), "pil", str(raw), str(out)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in [*arms, "start"]}
    for repeat in range(repeats):
        for name, command in arms.items():
            out = folder / name
            shutil.rmtree(out, ignore_errors=True)
            os.sync()  # otherwise an arm would wait for what another has written
            for file in raw.iterdir():  # so that every arm reads from the cache of the system
                file.read_bytes()
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, *command(out)],
                env={**os.environ, "OMP_NUM_THREADS": "1", "GENAE_HOME": str(folder / "home")},
                check=True,
                capture_output=True,
                text=True,
            )
            seconds[name].append(time.perf_counter() - began)
            print(f"{repeat + 1}/{repeats} {name}: {seconds[name][-1]:.1f} s", flush=True)
            if match := re.search(r"([\d.]+) s to start Ray", done.stdout):
                seconds["start"].append(float(match[1]))
    middle = {name: statistics.median(each) for name, each in seconds.items()}
    rows = [
        Row(
            name=f"prepare_vs_{name}",
            value=count / middle["prepare"],
            unit="images/s",
            baseline=f"a plain {name} loop in two processes",
            baseline_value=count / middle[name],
            ratio=middle[name] / middle["prepare"],
        )
        for name in ("simplejpeg", "pil")
    ]
    rows.append(
        Row(
            name="prepare_start",
            value=middle["start"],
            unit="s to start Ray, part of the above",
            baseline="the whole job",
            baseline_value=middle["prepare"],
            ratio=middle["prepare"] / middle["start"],
        )
    )
    return [*rows, *reading_rows(folder / "prepare", folder / "cache", repeats)]


def generate(folder: Path, count: int) -> None:
    """Write smooth noise as JPEGs like those of CelebA: 178 x 218 pixels, 4:2:0, 7 to 8 kB."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    pictures = []
    for _ in range(min(count, DISTINCT)):
        coarse = torch.from_numpy(generator.normal(127, 60, (1, 3, 14, 11)))
        smooth = F.interpolate(coarse, (218, 178), mode="bicubic")[0].permute(1, 2, 0).numpy()
        pixels = (smooth + generator.normal(0, 3, smooth.shape)).clip(0, 255).astype(np.uint8)
        content = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels), quality=85, colorsubsampling="420"
        )
        pictures.append(content)
    for number in range(count):
        (folder / f"{number:06}.jpg").write_bytes(pictures[number % len(pictures)])


def reading_rows(shards: Path, cache: Path, repeats: int) -> list[Row]:
    """Time an epoch in random order, in batches of 64, with one thread; and measure the memory of
    four readers."""
    torch.set_num_threads(1)
    splits = open_shards(Folder(shards), cache)
    ray_cluster.connect(None, READERS)
    try:
        parts = [np.asarray(part.images) for part in (splits.train, splits.val, splits.test)]
        images = ray_cluster.share(np.concatenate(parts))
        private = np.array(images)
        seconds: dict[str, list[float]] = {"shared": [], "private": []}
        batches = Batches(split_of(images), len(images), False, torch.device("cpu"))
        for repeat in range(repeats + 1):
            order = batches.order(Draw(repeat, "epoch"))
            index = np.split(order, range(64, len(order), 64))
            for name, array in (("shared", images), ("private", private)):
                began = time.perf_counter()
                for rows in index:
                    array[rows]
                if repeat:  # the first epoch loads the pages
                    seconds[name].append(time.perf_counter() - began)
        middle = {name: statistics.median(each) for name, each in seconds.items()}
        grown = sum(ClusterMapper()(growth, images, range(READERS)))
        size = private.nbytes
        return [
            Row(
                name="read_vs_memory",
                value=len(images) / middle["shared"],
                unit="images/s",
                baseline="an array in private memory",
                baseline_value=len(images) / middle["private"],
                ratio=middle["private"] / middle["shared"],
            ),
            Row(
                name="read_memory",
                value=grown / size,
                unit=f"growth of {READERS} trials' unique memory in an epoch, sets of "
                f"{size / 2**30:.2f} GiB",
                baseline="a copy a trial",
                baseline_value=float(READERS),
                ratio=READERS * size / max(grown, 1),
            ),
        ]
    finally:
        ray_cluster.disconnect()


def growth(images: Any, seed: int) -> int:
    """How much more unshared memory this process holds after an epoch than before, in bytes."""
    before = unique_bytes()
    batches = Batches(split_of(images), len(images), False, torch.device("cpu"))
    order = batches.order(Draw(seed, "epoch"))
    for rows in np.split(order, range(64, len(order), 64)):
        batches(rows)
    return unique_bytes() - before


def split_of(images: Any) -> Split:
    return Split(images, np.zeros(len(images), np.int64))


def unique_bytes() -> int:
    """The memory of this process that no other process shares, in bytes."""
    return int(psutil.Process().memory_full_info().uss)
