"""What the driver does before and after the trials: the data and the classifier, the table and
the last words."""

import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from genae_core.config.home import code_version, default_store, home
from genae_core.data.base import Splits
from genae_core.data.load import load_splits
from genae_core.data.preparation import Done, Each, Job, Work, one_by_one
from genae_core.data.shards import ShardSpec
from genae_core.experiment.experiment import Experiment, resolve, warnings_of
from genae_core.metrics.classifier import Classifier, cached_classifier, load_classifier
from genae_core.report import plots, tables
from genae_core.sweep import ray_cluster
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.runs import Params, Sweep, label
from genae_core.sweep.schedulers import RUNGS
from genae_core.sweep.sweep_folder import JOURNALS, STATES, deliver, mirror_of
from genae_core.tracking import mlflow_store, store_uri
from genae_core.tracking.delivery import deliver_all

LINGER_S = 60.0  # of a trial on another node, until the store has what only that node's disk holds
FEW_PIXELS = 2**25  # bytes of images that one process decodes before a cluster's first answer


def _done_before(tracker: mlflow_store.Tracker, name: str, folder: Path) -> dict[str, float]:
    """The runs of a resumed sweep that have finished, once the store has heard of all."""
    deliver(tracker, folder)
    return tracker.finished_fcds(name)


def prepare(
    study: str,
    name: str,
    folder: Path,
    cells: dict[str, Experiment],
    tracker: mlflow_store.Tracker,
    parallel: int,
    options: LaunchOptions,
) -> tuple[Sweep, Splits, Classifier]:
    """Prepare and read the data and complete the configs once; train the classifier or load it.

    parallel: trials at a time, which share the memory budget where they stream.
    """
    alone = not options.joins or ray_cluster.alone(options.trial_resources, parallel)
    finished = _done_before(tracker, name, folder) if options.resume else {}
    experiments = list(cells.values())
    data = experiments[0].data
    splits = load_splits(
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
        "command": store_uri.redact(command),
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
        options.gpus,
        int(2**30 * options.memory_per_trial) if options.memory_per_trial else None,
        RUNGS if options.asha else (),
        str(folder / STATES),
        f"{mirror.uri}/{STATES}" if (mirror := mirror_of(name, options)) else None,
        str(folder / JOURNALS),
        finished,
        0.0 if alone or options.shared_storage else LINGER_S,
        options.checkpoint_seconds,
        resolved,
    )
    return sweep, splits, load_classifier(kept)


def conclude(
    study: str,
    name: str,
    folder: Path,
    tracker: mlflow_store.Tracker,
    trials: int,
    errors: list[tuple[str, str]],
    interrupted: bool,
    seconds: float,
    slots: int,
    resumed: bool,
) -> bool:
    """Deliver what is still on disk, and say how it went: the table, the failures, where
    everything is, and how to see it. slots: trials at a time. Whether the tracking store has it
    all."""
    left = deliver_all(tracker, folder / JOURNALS)
    finished, times = "no answer about", ""
    try:
        tracker.close_sweep(name, {path.name for path in left})
        curves = tracker.read_runs(name)
        table = tables.table(curves)
        (folder / "table.txt").write_text(table + "\n")
        plots.draw_curves(curves, folder / "curves.png")
        print(f"\n{table}\n")
        finished = str(sum(run.status == "FINISHED" for run in curves))
        # What a resume finds was done in another launch's time.
        times = "" if resumed else tables.times(curves, slots, seconds)
    except mlflow_store.StoreError as error:
        left = left or {folder / JOURNALS: str(error)}
    for cell, reason in errors:
        print(f"failed: {cell}: {store_uri.redact(reason)}")
    print(
        f"{'interrupted' if interrupted else 'done'} after {seconds:.0f} s: {trials} trials, "
        f"{len(errors)} failed; {finished} finished runs"
    )
    if times:
        print(times)
    print(f"runs:   {store_uri.redact(tracker.uri)}, experiment {study}, tag sweep = {name}")
    print(f"files:  {folder} (table.txt, curves.png)")
    print(f"see it: {_how_to_see(tracker.uri)}")
    if left:
        reason = store_uri.redact(next(iter(left.values())))
        print(
            f"not delivered: what was logged of {len(left)} runs waits in {folder / JOURNALS}: "
            f"{reason}\nto deliver it: python jobs/replay_tracking.py {folder}"
        )
    if interrupted:
        print(f"to go on: the same command with --name {name} --resume")
    return not left


def _how_to_see(uri: str) -> str:
    if uri.startswith("http"):
        return f"open {store_uri.redact(uri)}"
    default = uri == default_store()
    return "make ui" if default else f"make ui TRACKING_URI={store_uri.redact(uri)}"


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
        return ray_cluster.each(work, job, specs, here)

    return each


def _budget(options: LaunchOptions) -> int:
    """Bytes of training images that a node may hold: what was asked for, or half of the object
    store that its trials share."""
    if options.budget_bytes is not None:
        return options.budget_bytes
    return int(ray_cluster.object_store_bytes() / 2)
