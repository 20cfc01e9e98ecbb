"""Decode a dataset once, over every CPU of the cluster, into shards that all trials share.

A job that was stopped goes on when it is started again with the same flags.

  python jobs/prepare_data.py celeba --raw DIR --out DIR
  python jobs/prepare_data.py image_folder --raw s3://BUCKET/images --out s3://BUCKET/shards
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from genae_core.config.cli import cli
from genae_core.data.base import DataConfig, Source
from genae_core.data.celeba import CelebAConfig
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.mnist import MNISTConfig
from genae_core.data.preparation import MAX_REJECTED, REJECTED, Done, Job, Work, prepare
from genae_core.data.shards import Shard, ShardSpec
from genae_core.data.storage import Folder
from genae_core.data.svhn import SVHNConfig
from genae_core.sweep import ray_cluster


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this job."""

    dataset: Annotated[Literal["mnist", "svhn", "celeba", "image_folder"], tyro.conf.Positional]
    """Which official files to expect; image_folder takes any folder of images."""
    raw: str
    """Folder or URI (s3://, gs://) of the official files, or of the images."""
    out: str
    """Folder or URI for the shards; it must not hold anything else."""
    size: int = 64
    """The images are resized to size x size pixels: 32 or 64 (mnist stays at 28)."""
    crop: float | None = None
    """Side of the central square that is kept, as a fraction of the shorter side (default:
    148/178 for celeba, all of it for image_folder)."""
    extra: bool = False
    """svhn: add the 531,131 images of extra_32x32.mat to the training split."""
    split_seed: int = 0
    """Seed of the cut into splits where a dataset has none of its own."""
    max_rejected: float = MAX_REJECTED
    """Share of the files that may be unusable; beyond it the job stops, and keeps what it did."""
    download: bool = False
    """Fetch missing official files into --raw with torchvision's downloaders."""
    ray_address: str | None = None
    """Cluster to join, e.g. auto (default: RAY_ADDRESS, else a Ray for this job alone)."""
    shared_storage: bool = False
    """Say that local paths are seen by every node, as over NFS; else this node alone works."""


def config_of(options: Options) -> DataConfig:
    """The dataset's config. Raises ValueError for flags that it does not have."""
    raw, size, download = options.raw, options.size, options.download
    if options.crop is not None and options.dataset not in ("celeba", "image_folder"):
        raise ValueError(f"{options.dataset} has no --crop, got {options.crop}")
    if not 0 <= options.max_rejected <= 1:
        raise ValueError(f"--max-rejected must be in [0, 1], got {options.max_rejected}")
    if options.extra and options.dataset != "svhn":
        raise ValueError(f"{options.dataset} has no --extra")
    if options.dataset == "mnist":
        return MNISTConfig(root=raw, download=download)
    if options.dataset == "svhn":
        return SVHNConfig(root=raw, size=size, extra=options.extra, download=download)
    seed = options.split_seed
    data: CelebAConfig | ImageFolderConfig
    if options.dataset == "celeba":
        data = CelebAConfig(root=raw, size=size, split_seed=seed, download=download)
    else:
        data = ImageFolderConfig(root=raw, size=size, split_seed=seed)
    return data if options.crop is None else replace(data, crop=options.crop)


def main(options: Options) -> int:
    """Prepare the shards, with a progress bar, and say what each stage cost."""
    began = time.perf_counter()
    data = config_of(options)
    out = Folder(options.out)
    here = out.local is not None and not options.shared_storage
    spent: dict[str, float] = {}
    start = 0.0
    bar = tqdm(unit=" images", smoothing=0, disable=None, dynamic_ncols=True)

    def on_plan(source: Source, todo: list[ShardSpec], done: list[Shard]) -> None:
        for note in source.notes:
            print(f"note: {note}")
        rows, ready = sum(source.counts.values()), sum(shard.rows_in for shard in done)
        print(
            f"{data.name}: {rows:,} images into {len(todo) + len(done)} shards; "
            f"{len(done)} finished before",
            flush=True,
        )
        bar.reset(rows)
        bar.update(ready)

    def each(work: Work, job: Job, specs: Sequence[ShardSpec]) -> Iterator[Done]:
        nonlocal start  # Ray starts when the files are found to be in order, and are needed
        connecting = time.perf_counter()
        ray_cluster.connect(options.ray_address, os.cpu_count() or 1)
        start = time.perf_counter() - connecting
        return ray_cluster.each(work, job, specs, here)

    def on_shard(done: Done) -> None:
        bar.update(done.shard.rows_in)
        for stage, seconds in done.seconds.items():
            spent[stage] = spent.get(stage, 0.0) + seconds

    try:
        manifest = prepare(data, out, options.max_rejected, each, on_plan, on_shard)
    finally:
        bar.close()
        ray_cluster.disconnect()
    total = time.perf_counter() - began
    counts = ", ".join(f"{manifest.rows(split):,} {split}" for split in ("train", "val", "test"))
    print(f"{manifest.rows_in:,} files: {counts}; {manifest.rejected:,} rejected", end="")
    print(f" (see {out.path_of(REJECTED)})" if manifest.rejected else "")
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in spent.items())
    work = f"{start:.1f} s to start Ray, {stages} s of the workers' time"
    print(f"{total:.1f} s: {work if spent else 'nothing was left to decode'}")
    print(out.uri)
    return 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
