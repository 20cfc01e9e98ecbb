"""Decode a dataset once, on all CPUs of the cluster, into shards that all trials share.

If the job is stopped, start it again with the same flags, and it continues.

  genae prepare celeba --raw DIR --out DIR
  genae prepare image_folder --raw DIR --out DIR --size 28 --grey
  genae prepare image_folder --raw s3://BUCKET/images --out s3://BUCKET/shards
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

import genae_core as genae
from genae_core import data, recipes
from genae_core.config.console import say
from genae_core.config.places import locate_fields
from genae_core.config.progress import ProgressDisplay
from genae_core.data.limits import MAX_REJECTED
from genae_core.data.parts import ChosenMapper, PartMapper
from genae_core.data.storage import Folder
from genae_core.recipes.dataset_names import FileDataset
from genae_core.sweep import ray_cluster
from genae_core.sweep.cluster_mapper import ClusterMapper


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this command."""

    dataset: Annotated[FileDataset, tyro.conf.Positional]
    """The dataset whose official files are read; image_folder is any folder of images, arrays is a
    file of numpy, and huggingface is a folder that save_to_disk has written."""
    raw: str
    """Folder or URI (s3://, gs://) of the official files, or of the images; for arrays, an .npz or
    .npy file."""
    out: str
    """Folder or URI for the shards; it must hold nothing else."""
    size: int | None = None
    """Resize the images to size x size pixels, 28 or a multiple of 8 (default: 64; cifar10 and
    cifar100 stay at 32, arrays at their size; mnist and the sets like it are always at 28)."""
    grey: bool = False
    """image_folder, arrays, huggingface: read the images as grey values, and not as colours."""
    crop: float | None = None
    """Side of the central square that is used, divided by the shorter side of the image (default:
    148/178 for celeba, 1 for image_folder and huggingface)."""
    extra: bool = False
    """svhn: add the 531,131 images of extra_32x32.mat to the training split."""
    split_seed: int = 0
    """Seed of the random choice of the splits, if the dataset has no splits of its own."""
    max_rejected: float = MAX_REJECTED
    """Largest fraction of the files that may be unusable, in [0, 1]. With more, the job stops and
    keeps what is done."""
    download: bool = False
    """Download missing official files into --raw with torchvision."""
    ray_address: str | None = None
    """Address of the Ray cluster to join, e.g. auto (default: RAY_ADDRESS; without it the job
    starts its own Ray)."""
    shared_storage: bool = False
    """State that every node can open local paths, e.g. over NFS. Without it, only this node works
    on local paths."""

    def __post_init__(self) -> None:
        locate_fields(self, "raw", "out")


def config_of(options: Options) -> "genae.DataConfig":
    """The dataset's config. Raises ValueError for flags that the dataset does not have."""
    if not 0 <= options.max_rejected <= 1:
        raise ValueError(f"--max-rejected must be in [0, 1], got {options.max_rejected}")
    settings = recipes.ImageSettings(
        size=options.size,
        grey=options.grey,
        crop=options.crop,
        extra=options.extra,
        split_seed=options.split_seed,
        download=options.download,
    )
    return recipes.dataset_config(options.dataset, options.raw, settings)


class PreparationDisplay:
    """Shows a preparation, and the seconds that each stage took.

    Args:
        dataset: The name of the dataset.
        progress: Shows how many images are done.
    """

    def __init__(self, dataset: str, progress: ProgressDisplay) -> None:
        self.dataset = dataset
        self.progress = progress
        self.notes: tuple[str, ...] = ()  # those that are printed already
        self.seconds: dict[str, float] = {}
        self.ray_seconds = 0.0

    def show_plan(
        self, source: "data.Source", todo: list["data.ShardSpec"], done: list["data.Shard"]
    ) -> None:
        """Print the notes and the plan, and count the finished shards."""
        self.notes = source.notes
        for note in source.notes:
            print(f"note: {note}")
        rows, finished_rows = sum(source.counts.values()), sum(shard.rows_in for shard in done)
        print(
            f"{self.dataset}: {rows:,} images into {len(todo) + len(done)} shards; "
            f"{len(done)} of them are finished",
            flush=True,
        )
        self.progress.begin(rows, finished_rows)

    def connect(self, address: str | None) -> None:
        """Join or start a cluster, and measure how long this takes."""
        began = time.perf_counter()
        ray_cluster.connect(address)
        self.ray_seconds = time.perf_counter() - began

    def add(self, finished: "data.FinishedShard") -> None:
        """Count a new shard."""
        self.progress.update(finished.shard.rows_in)
        for stage, seconds in finished.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def report(self, manifest: "data.Manifest", out: Folder, total: float) -> None:
        """Print the numbers of images, and the time of each stage."""
        for note in manifest.notes:
            if note not in self.notes:
                print(f"note: {note}")
        splits = ("train", "val", "test")
        counts = ", ".join(f"{manifest.rows(split):,} {split}" for split in splits)
        print(f"{manifest.rows_in:,} files: {counts}; {manifest.rejected:,} rejected", end="")
        copies = manifest.copies or 0
        print(f", {copies:,} copies left out" if copies else "", end="")
        print(f" (see {data.rejected_list(out)})" if manifest.rejected or copies else "")
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in self.seconds.items())
        work = f"{self.ray_seconds:.1f} s to start Ray, {stages} s of the workers' time"
        print(f"{total:.1f} s: {work if self.seconds else 'nothing was left to decode'}")
        print(out.uri)


def main(options: Options) -> int:
    """Prepare the shards, show the progress, and print the time of each stage."""
    began = time.perf_counter()
    ray_cluster.check_cluster(options.ray_address)
    dataset = config_of(options)
    out = Folder(options.out)

    def choose(_: Any, specs: Sequence[Any]) -> PartMapper:
        display.connect(options.ray_address)  # only now: the files may be wrong, or all done
        return ClusterMapper(node_local=out.local is not None and not options.shared_storage)

    with ProgressDisplay(f"preparing {dataset.name}", unit="images") as progress:
        display = PreparationDisplay(dataset.name, progress)
        try:
            manifest = data.prepare(
                dataset,
                out,
                max_rejected=options.max_rejected,
                mapper=ChosenMapper(choose),
                on_plan=display.show_plan,
                on_shard=display.add,
            )
        except KeyboardInterrupt:
            say("the finished shards are kept: the same command continues", error=True)
            raise
        finally:
            ray_cluster.disconnect()
    display.report(manifest, out, time.perf_counter() - began)
    return 0
