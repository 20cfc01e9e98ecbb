"""Write samples of a trained model after k steps of its chain, as Parquet or PNG files.

If the job is stopped, start it again with the same flags, and it continues. The same command
draws a hundred samples on a laptop or a million on a cluster, and the first hundred of the million
are the same samples.

  genae sample RUN_ID --num-samples 1000000 --out DIR
  genae sample EXPORT_FOLDER --num-samples 1000 --out DIR
  genae sample CHECKPOINT_FOLDER --num-samples 100 --steps 5 --format png --out DIR
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from genae_core import evaluation, recipes
from genae_core.config import require_gpus, require_positive_int
from genae_core.config.console import say
from genae_core.config.places import locate_fields
from genae_core.config.progress import ProgressDisplay
from genae_core.data.parts import ChosenMapper, PartMapper, map_here
from genae_core.data.storage import Folder
from genae_core.sweep import ray_cluster
from genae_core.sweep.cluster_mapper import ClusterMapper


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this command."""

    source: Annotated[str, tyro.conf.Positional]
    """Id of an MLflow run, or the folder of an export or of a checkpoint."""
    out: str
    """Empty folder or URI (s3://, gs://) for the samples."""
    num_samples: int = 10_000
    """Number of samples."""
    steps: int | None = None
    """Steps of the chain (default: the recommended step of the run)."""
    format: Literal["parquet", "png"] = "parquet"
    """Format of the files. parquet: tables with image, z and chain; png: one file for each
    image."""
    batch_norm: Literal["batch", "running"] | None = None
    """Statistics of batch normalisation (default: the run's; for a checkpoint "batch")."""
    seed: int | None = None
    """Seed of the chains (default: the run's; for a checkpoint 0)."""
    tracking_uri: str | None = None
    """MLflow store of the run (default: mlflow.db in GENAE_HOME)."""
    data_root: str | None = None
    """Folder or URI of the model's images if they have moved, or if the model is an export, which
    does not say where they are. Only chains that start from a fitted prior need them."""
    gpus_per_worker: float = 0.0
    """GPUs of each worker; a fraction lets several workers share one GPU."""
    ray_address: str | None = None
    """Address of the Ray cluster to join, e.g. auto (default: RAY_ADDRESS; without it the job
    starts its own Ray if it needs one)."""
    shared_storage: bool = False
    """State that every node can open local paths, e.g. over NFS. Without it, only this node works
    on local paths."""

    def __post_init__(self) -> None:
        locate_fields(self, "out", "tracking_uri", "data_root")
        require_positive_int(num_samples=self.num_samples)
        require_gpus(gpus_per_worker=self.gpus_per_worker)


def make_job(options: Options, source: "recipes.TrainedModel") -> "evaluation.SamplingJob":
    """Make the sampling job. Raises ValueError if the number of steps is unknown."""
    steps = options.steps if options.steps is not None else source.steps
    if steps is None:
        what = "a checkpoint" if source.stored is None else "the run of this model"
        raise ValueError(f"{what} has no recommended step: give --steps")
    chain = source.chain_with(options.batch_norm, options.seed)
    device = "cuda" if options.gpus_per_worker > 0 else "cpu"
    prior = source.fitted_prior(chain, data_root=options.data_root)
    portable = evaluation.read_portable_chain(source.folder, chain, prior, device)
    return evaluation.sampling_job(portable, steps, Folder(options.out), options.format)


def main(options: Options) -> int:
    """Draw the samples that are missing, and show the progress."""
    began = time.perf_counter()
    Folder(options.out).check_writable()
    ray_cluster.check_cluster(options.ray_address)
    with tempfile.TemporaryDirectory() as scratch:
        source = recipes.fetch_trained_model(options.source, options.tracking_uri, Path(scratch))
        job = make_job(options, source)
    local = job.out.local is not None and not options.shared_storage

    def on_plan(total: int, written: int) -> None:
        print(f"{total:,} samples, {written:,} of them are already written", flush=True)
        progress.begin(total, written)

    def choose(_: Any, parts: Sequence[Any]) -> PartMapper:
        if len(parts) == 1 and options.ray_address is None and options.gpus_per_worker == 0:
            return map_here  # Ray takes longer to start than one part to finish
        stack.callback(ray_cluster.disconnect)
        ray_cluster.connect(options.ray_address)
        return ClusterMapper(node_local=local, num_gpus=options.gpus_per_worker)

    with ProgressDisplay("sampling", unit="samples") as progress, ExitStack() as stack:
        try:
            evaluation.draw_samples(
                job,
                options.num_samples,
                mapper=ChosenMapper(choose),
                on_plan=on_plan,
                on_part=progress.update,
            )
        except FloatingPointError as error:
            raise ValueError(str(error)) from None
        except KeyboardInterrupt:
            say("the finished parts are kept: the same command continues", error=True)
            raise
    seconds = time.perf_counter() - began
    steps = job.source.chain.record[-1]
    which = " (the recommended step)" if options.steps is None else ""
    print(f"{options.num_samples:,} samples after {steps} steps{which}, {seconds:.1f} s")
    print(job.out.uri)
    return 0
