"""N samples of a trained model after k steps of its chain, as Parquet or PNG files.

A job that was stopped goes on when it is started again with the same flags. A hundred on a laptop
and a million on a cluster are the same command, and the first hundred of the million the same
samples.

  python jobs/sample.py RUN_ID --num-samples 1000000 --out DIR
  python jobs/sample.py CHECKPOINT_FOLDER --num-samples 100 --steps 5 --format png --out DIR
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from genae_core.config.cli import cli
from genae_core.data.storage import Folder
from genae_core.evaluation.generate import (
    Job,
    Part,
    draw_samples,
    job_of,
    make,
    one_by_one,
    started,
)
from genae_core.recipes.trained_model import TrainedModel, fetch_trained_model
from genae_core.sweep import ray_cluster


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this job."""

    source: Annotated[str, tyro.conf.Positional]
    """Id of an MLflow run, or the folder of a checkpoint."""
    out: str
    """Empty folder or URI (s3://, gs://) for the samples."""
    num_samples: int = 10_000
    """How many."""
    steps: int | None = None
    """Steps of the chain (default: those that the run recommends)."""
    format: Literal["parquet", "png"] = "parquet"
    """parquet: image, z and chain; png: one file an image."""
    batch_norm: Literal["batch", "running"] | None = None
    """Statistics of batch normalisation (default: the run's; for a checkpoint "batch")."""
    seed: int | None = None
    """Of the chains (default: the run's; for a checkpoint 0)."""
    tracking_uri: str | None = None
    """MLflow store of the run (default: mlflow.db in GENAE_HOME)."""
    gpus_per_worker: float = 0.0
    """GPUs of a worker; a fraction puts several on one GPU."""
    ray_address: str | None = None
    """Cluster to join, e.g. auto (default: RAY_ADDRESS, else a Ray for this job alone)."""
    shared_storage: bool = False
    """Say that local paths are seen by every node, as over NFS; else this node alone works."""


def job_for(options: Options, found: TrainedModel) -> Job:
    """The job. Raises ValueError where nothing says how many steps."""
    steps = options.steps if options.steps is not None else found.steps
    if steps is None:
        raise ValueError("a checkpoint recommends no step: give --steps")
    chain = found.chain_with(options.batch_norm, options.seed)
    device = "cuda" if options.gpus_per_worker > 0 else "cpu"
    fitted_prior = found.fitted_prior(chain)
    return job_of(
        found.folder, chain, steps, Folder(options.out), options.format, fitted_prior, device
    )


def main(options: Options) -> int:
    """Draw what is still missing, with a progress bar."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        found = fetch_trained_model(options.source, options.tracking_uri, Path(scratch))
        job = job_for(options, found)
    here = job.out.local is not None and not options.shared_storage
    bar = tqdm(unit=" samples", smoothing=0, disable=None, dynamic_ncols=True)

    def on_plan(total: int, ready: int) -> None:
        print(f"{total:,} samples, {ready:,} of them there already", flush=True)
        bar.reset(total)
        bar.update(ready)

    def each(job: Job, parts: Sequence[Part]) -> Iterator[int]:
        if len(parts) == 1 and options.ray_address is None and options.gpus_per_worker == 0:
            return one_by_one(job, parts)  # Ray takes longer to start than a part
        stack.callback(ray_cluster.disconnect)
        ray_cluster.connect(options.ray_address, os.cpu_count() or 1)
        return ray_cluster.each(make, job, parts, here, started, options.gpus_per_worker)

    with ExitStack() as stack:
        stack.callback(bar.close)
        try:
            draw_samples(job, options.num_samples, each, on_plan, bar.update)
        except FloatingPointError as error:
            raise ValueError(str(error)) from None
    seconds = time.perf_counter() - began
    print(f"{options.num_samples:,} samples after {job.chain.record[-1]} steps, {seconds:.1f} s")
    print(job.out.uri)
    return 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
