"""What the driver does before and after the trials: the data and the classifier, the table and
the last words."""

import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from genae_core import cluster, report, tracking
from genae_core.data.base import Splits
from genae_core.data.obtain import obtain
from genae_core.data.prepare import Done, Each, Job, Work, one_by_one
from genae_core.data.shards import ShardSpec
from genae_core.delivery import deliver_all
from genae_core.experiment import Experiment, resolve, warnings_of
from genae_core.home import code_version, home
from genae_core.metrics.classifier import Classifier, cached_classifier, load_classifier
from genae_core.options import LaunchOptions
from genae_core.runs import Params, Sweep, label
from genae_core.sweep_folder import JOURNALS, STATES, deliver, mirror_of

# ASHA compares trials when they have done a ninth and a third of their steps.
RUNGS = (1 / 9, 1 / 3)
LINGER_S = 60.0  # of a trial on another node, until the store has what only that node's disk holds
FEW_PIXELS = 2**25  # bytes of images that one process decodes before a cluster's first answer


def _done_before(tracker: tracking.Tracker, name: str, folder: Path) -> dict[str, float]:
    """The runs of a resumed sweep that have finished, once the store has heard of all."""
    deliver(tracker, folder)
    return tracker.finished(name)


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
    alone = not options.joins or cluster.alone(options.trial_resources, parallel)
    finished = _done_before(tracker, name, folder) if options.resume else {}
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
    tracker: tracking.Tracker,
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
        tracker.close(name, {path.name for path in left})
        curves = tracker.curves(name)
        table = report.table(curves)
        (folder / "table.txt").write_text(table + "\n")
        report.draw_curves(curves, folder / "curves.png")
        print(f"\n{table}\n")
        finished = str(sum(run.status == "FINISHED" for run in curves))
        # What a resume finds was done in another launch's time.
        times = "" if resumed else report.times(curves, slots, seconds)
    except tracking.StoreError as error:
        left = left or {folder / JOURNALS: str(error)}
    for cell, reason in errors:
        print(f"failed: {cell}: {tracking.redact(reason)}")
    print(
        f"{'interrupted' if interrupted else 'done'} after {seconds:.0f} s: {trials} trials, "
        f"{len(errors)} failed; {finished} finished runs"
    )
    if times:
        print(times)
    print(f"runs:   {tracking.redact(tracker.uri)}, experiment {study}, tag sweep = {name}")
    print(f"files:  {folder} (table.txt, curves.png)")
    print(f"see it: {_how_to_see(tracker.uri)}")
    if left:
        reason = tracking.redact(next(iter(left.values())))
        print(
            f"not delivered: what was logged of {len(left)} runs waits in {folder / JOURNALS}: "
            f"{reason}\nto deliver it: python jobs/replay_tracking.py {folder}"
        )
    if interrupted:
        print(f"to go on: the same command with --name {name} --resume")
    return not left


def _how_to_see(uri: str) -> str:
    if uri.startswith("http"):
        return f"open {tracking.redact(uri)}"
    default = uri == f"sqlite:///{home() / 'mlflow.db'}"
    return "make ui" if default else f"make ui TRACKING_URI={tracking.redact(uri)}"


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
