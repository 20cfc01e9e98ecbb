"""What the driver does before and after the trials: the store, the data, the name, the table."""

import json
import math
import secrets
import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genae_core import cluster, config, report, tracking
from genae_core.cell import Params, Sweep, label
from genae_core.data.base import Splits
from genae_core.data.obtain import obtain
from genae_core.data.prepare import Done, Each, Job, Work, one_by_one
from genae_core.data.shards import ShardSpec
from genae_core.experiment import Experiment, resolve, warnings_of
from genae_core.home import code_version, home
from genae_core.metrics.classifier import Classifier, cached_classifier, load_classifier
from genae_core.options import LaunchOptions

# ASHA compares trials when they have done a ninth and a third of their steps.
RUNGS = (1 / 9, 1 / 3)
STATES = "states"  # of trainings that have not ended, in the sweep's folder
FEW_PIXELS = 2**25  # bytes of images that one process decodes before a cluster's first answer


def open_store(
    study: str, name: str, folder: Path, cells: dict[str, Experiment], options: LaunchOptions
) -> tracking.Tracker:
    """The store, made once here, and proof that the name is free or continues the same sweep."""
    uri = tracking.resolve_uri(options.tracking_uri or f"sqlite:///{home() / 'mlflow.db'}")
    if options.resume:
        _check_same(folder, cells, options)
    taken = (
        f"a sweep called {name!r} exists; choose another --name, or continue it with "
        f"--name {name} --resume"
    )
    if not options.resume and folder.exists():
        raise ValueError(taken)
    tracker = tracking.Tracker.create(uri, study, home() / "mlartifacts")
    if not options.resume and tracker.find(sweep=name):
        raise ValueError(taken)
    return tracker


def prepare(
    study: str,
    name: str,
    folder: Path,
    cells: dict[str, Experiment],
    tracker: tracking.Tracker,
    parallel: int,
    options: LaunchOptions,
) -> tuple[Sweep, Splits, Classifier]:
    """Prepare and read the data and complete the configs once; train the classifier or load it.

    parallel: trials at a time, which share the memory budget where they stream.
    """
    experiments = list(cells.values())
    data = experiments[0].data
    splits = obtain(
        data,
        home(),
        options.shards,
        options.max_rejected,
        _budget(options),
        parallel,
        _each(options),
        lambda text: print(text, flush=True),
    )
    for note in splits.notes:
        print(f"note: {note}")
    resolved = {key: resolve(cell, splits) for key, cell in cells.items()}
    for warning in sorted({text for cell in resolved.values() for text in warnings_of(cell)}):
        print(f"warning: {warning}")
    recipe = next(iter(resolved.values())).classifier
    kept, about = cached_classifier(
        recipe,
        data.name,
        splits,
        data.binarize,
        home() / "classifiers",
        on_train=lambda: print(
            f"training the FCD's classifier of {data.name}, once ...", flush=True
        ),
    )
    print(
        f"classifier {kept.name}: {about['accuracy']:.2%} accurate on held-out images "
        f"({about['task']})"
    )
    command = shlex.join([Path(sys.executable).name, *sys.argv])
    tags = {
        **code_version(),
        "command": tracking.redact(command),
        "study": study,
        "dataset": data.name,
        "data_sha256": about["data"],
        "classifier_sha256": about["sha256"],
        "classifier_recipe": about["recipe"],
        "classifier_accuracy": f"{about['accuracy']:.4f}",
    }
    sweep = Sweep(
        name,
        tracker.uri,
        tracker.experiment_id,
        tags,
        options.seeds,
        options.cpus_per_trial,
        options.gpus_per_trial,
        RUNGS if options.asha else (),
        str(folder / STATES),
        options.checkpoint_seconds,
        resolved,
    )
    return sweep, splits, load_classifier(kept)


def conclude(
    study: str,
    name: str,
    folder: Path,
    tracker: tracking.Tracker,
    trials: int,
    errors: list[tuple[str, str]],
    interrupted: bool,
    seconds: float,
) -> None:
    """The table, the failures, where everything is, and how to see it."""
    curves = tracker.curves(name)
    table = report.table(curves)
    (folder / "table.txt").write_text(table + "\n")
    report.draw_curves(curves, folder / "curves.png")
    print(f"\n{table}\n")
    for cell, reason in errors:
        print(f"failed: {cell}: {reason}")
    finished = [run for run in curves if run.status == "FINISHED"]
    print(
        f"{'interrupted' if interrupted else 'done'} after {seconds:.0f} s: {trials} trials, "
        f"{len(errors)} failed; {len(finished)} finished runs"
    )
    print(f"runs:   {tracking.redact(tracker.uri)}, experiment {study}, tag sweep = {name}")
    print(f"files:  {folder} (table.txt, curves.png)")
    default = tracker.uri == f"sqlite:///{home() / 'mlflow.db'}"
    served = tracker.uri.startswith("http")
    print(
        "see it: "
        + (
            f"open {tracking.redact(tracker.uri)}"
            if served
            else "make ui"
            if default
            else f"make ui TRACKING_URI={tracking.redact(tracker.uri)}"
        )
    )
    if interrupted:
        print(f"to go on: the same command with --name {name} --resume")


def print_cells(
    study: str, grid: list[Params], cells: dict[str, Experiment], seeds: tuple[int, ...]
) -> None:
    chains = next(iter(cells.values())).chains
    print(
        f"{study}: {len(grid)} trials x {len(seeds)} seeds x {len(chains)} chain settings = "
        f"{len(grid) * len(seeds) * len(chains)} runs"
    )
    for number, params in enumerate(grid, 1):
        print(f"  {number:>3}  {label(params)}")


def _each(options: LaunchOptions) -> Each:
    """Over the cluster, or here where that is sooner than asking it."""

    def each(work: Work, job: Job, specs: Sequence[ShardSpec]) -> Iterator[Done]:
        pixels = sum(spec.last - spec.first for spec in specs) * math.prod(job.shape)
        if pixels < FEW_PIXELS:
            return one_by_one(work, job, specs)
        here = job.folder.local is not None and not options.shared_storage
        return cluster.each(work, job, specs, here)

    return each


def _budget(options: LaunchOptions) -> int:
    """Bytes of training images that a node may hold: what was asked for, or half of the object
    store that its trials share."""
    if options.budget_bytes is not None:
        return options.budget_bytes
    return int(cluster.object_store_bytes() / 2)


def new_name(study: str) -> str:
    return f"{study}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _manifest(cells: dict[str, Experiment], options: LaunchOptions) -> dict[str, Any]:
    return {
        "seeds": list(options.seeds),
        "cells": {key: config.to_dict(cell) for key, cell in cells.items()},
    }


def write_manifest(folder: Path, cells: dict[str, Experiment], options: LaunchOptions) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(_manifest(cells, options), indent=1) + "\n")


def _check_same(folder: Path, cells: dict[str, Experiment], options: LaunchOptions) -> None:
    try:
        before = json.loads((folder / "sweep.json").read_text())
    except (OSError, json.JSONDecodeError):
        raise ValueError(
            f"no sweep to continue in {folder}; leave out --resume to start it"
        ) from None
    now = _manifest(cells, options)
    if before["seeds"] != now["seeds"]:
        raise ValueError(
            f"--resume: the sweep was started with seeds {before['seeds']}, got {now['seeds']}"
        )
    for key in sorted({*before["cells"], *now["cells"]}):
        if before["cells"].get(key) != now["cells"].get(key):
            raise ValueError(
                f"--resume: cell {key} is not what the sweep in {folder} was started "
                "with; give the same flags, or another --name"
            )
