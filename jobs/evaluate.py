"""FCD, kernel distance and classes of N samples at steps of a trained model's chain.

The samples are not kept, so a million on a cluster takes time alone. They are those that
jobs/sample.py writes. Precision, recall and the like, of 2,000 samples, are in a sweep's runs.

  python jobs/evaluate.py RUN_ID --num-samples 1000000 --out report.json
  python jobs/evaluate.py CHECKPOINT_FOLDER --dataset mnist --data-root DIR --steps 0 5 50
"""

import dataclasses
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tqdm import tqdm

from genae_core.config import require, to_strict_json
from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.data.load import load_splits
from genae_core.data.storage import Folder
from genae_core.evaluation.generate import Part
from genae_core.evaluation.streaming import Job, Looked, Report, look, measure, one_by_one, started
from genae_core.metrics.classifier import cached_classifier, load_classifier
from genae_core.metrics.fcd import too_few
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import DataOptions
from genae_core.recipes.trained_model import fetch_trained_model
from genae_core.report.tables import align_columns
from genae_core.sweep import ray_cluster
from genae_core.training import checkpoint

FEW = 20_000  # samples that are measured before a cluster has started


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions):
    """The flags of this job; those about data are for a checkpoint, a run knows its own."""

    source: Annotated[str, tyro.conf.Positional]
    """Id of an MLflow run, or the folder of a checkpoint."""
    out: Path | None = None
    """JSON file for the figures, which must not be there yet."""
    num_samples: int = 10_000
    """How many."""
    steps: tuple[int, ...] | None = None
    """Steps of the chain to look at, ascending from 0 (default: the run's)."""
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


def table(report: Report) -> str:
    """A row a step, each value with its standard error."""
    refused = any(at.accepted is not None for at in report.steps)
    classes = any(at.classes for at in report.steps)
    head = ["step", "FCD", "FCD/real", "kernel distance"]
    rows = [head + ["class entropy"] * classes + ["accepted"] * refused]
    for at in report.steps:
        ratio = f"{at.fcd.value / report.floor:.2f}" if report.floor > 0 else "-"
        row = [str(at.step), _with_error(at.fcd), ratio, _with_error(at.kid)]
        row += [f"{at.class_entropy:.3f}"] if classes else []
        rows.append(row + ([f"{at.accepted:.3f}"] if refused else []))
    return align_columns(rows)


def _with_error(estimate: tuple[float, float]) -> str:
    value, error = estimate
    return f"{value:.4g} ± {error:.2g}" if math.isfinite(error) else f"{value:.4g}"


def main(options: Options) -> int:
    """Measure, with a progress bar; print the table, and write the file where asked."""
    began = time.perf_counter()
    if options.out is not None:
        require(not options.out.exists(), "--out must not exist yet", out=options.out)
        folder = options.out.absolute().parent
        require(folder.is_dir(), f"--out: there is no folder {folder}", out=options.out)
    with tempfile.TemporaryDirectory() as scratch:
        found = fetch_trained_model(options.source, options.tracking_uri, Path(scratch))
        chain = found.chain_with(options.batch_norm, options.seed)
        record = chain.record if options.steps is None else options.steps
        chain = dataclasses.replace(chain, record=record, num_chains=None)
        if found.experiment is None:
            parts = dataset_recipe(options)
            data, recipe_of_classifier = parts.data, parts.classifier
        else:
            data, recipe_of_classifier = found.experiment.data, found.experiment.classifier
        given = checkpoint.read(found.folder)
        splits = load_splits(
            data, home(), options.shards, options.max_rejected, options.budget_bytes
        )
        fitted_prior = found.fitted_prior(chain, splits)
    folder, about = cached_classifier(
        recipe_of_classifier,
        data.name,
        splits,
        data.binarize,
        home() / "classifiers",
        on_train=lambda: print(
            f"training the FCD's classifier of {data.name}, once ...", flush=True
        ),
    )
    print(f"classifier {folder.name}: {about['accuracy']:.2%} accurate on held-out images")
    classifier = load_classifier(folder)
    width = classifier.top.in_features
    bar = tqdm(total=options.num_samples, unit=" samples", smoothing=0, disable=None)

    def each(job: Job, parts: Sequence[Part]) -> Iterator[Looked]:
        asked = options.ray_address or options.gpus_per_worker > 0
        if options.num_samples <= FEW and not asked:
            return one_by_one(job, parts)  # sooner than Ray starts
        stack.callback(ray_cluster.disconnect)
        ray_cluster.connect(options.ray_address, os.cpu_count() or 1)
        gpus = options.gpus_per_worker
        return ray_cluster.each(look, job, parts, keep=started, num_gpus=gpus)

    with ExitStack() as stack:
        stack.callback(bar.close)
        try:
            report = measure(
                given,
                chain,
                fitted_prior,
                splits,
                classifier,
                data.binarize,
                options.num_samples,
                each,
                bar.update,
                "cuda" if options.gpus_per_worker > 0 else "cpu",
            )
        except FloatingPointError as error:
            raise ValueError(str(error)) from None
    print(
        f"{report.num_samples:,} samples against {report.num_real:,} test images of {data.name}; "
        f"real training images: FCD {report.floor:.4g}\n{table(report)}"
    )
    notes = [too_few(report.num_samples, width)]
    if report.num_samples <= chain.sub_batch:
        notes.append(
            f"all samples are one sub-batch of {chain.sub_batch} chains, so they have no standard "
            "errors: take more"
        )
    for note in notes:
        if note:
            print(f"warning: {note}")
    if options.out is not None:
        text = to_strict_json(_plain(options, report))
        Folder(options.out.absolute().parent).write(options.out.name, text.encode())
    print(f"{time.perf_counter() - began:.1f} s")
    return 0


def _plain(options: Options, report: Report) -> dict[str, Any]:
    """The report for a file."""
    steps = [
        {
            "step": at.step,
            **{"fcd": at.fcd.value, "fcd_se": at.fcd.error},
            **{"kid": at.kid.value, "kid_se": at.kid.error},
            **{"classes": at.classes, "accepted": at.accepted},
        }
        for at in report.steps
    ]
    return {"source": options.source, **report._asdict(), "steps": steps}


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
