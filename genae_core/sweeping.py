"""What the driver does before and after the trials: the store, the data, the name, the table."""

import contextlib
import json
import math
import secrets
import shlex
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from genae_core import cluster, config, report, tracking
from genae_core.data.base import Splits
from genae_core.data.folder import Folder
from genae_core.data.obtain import obtain
from genae_core.data.prepare import Done, Each, Job, Work, one_by_one
from genae_core.data.shards import ShardSpec
from genae_core.delivery import deliver_all
from genae_core.experiment import Experiment, resolve, warnings_of
from genae_core.home import code_version, home
from genae_core.metrics.classifier import Classifier, cached_classifier, load_classifier
from genae_core.options import LaunchOptions
from genae_core.runs import Params, Sweep, cell_key, label

# ASHA compares trials when they have done a ninth and a third of their steps.
RUNGS = (1 / 9, 1 / 3)
# In the sweep's folder: the states of trainings that have not ended, and what the tracking store
# does not have yet.
MANIFEST, LOCK = "sweep.json", ".lock"
STOPPED = "stopped.jsonl"  # the cells that a scheduler has stopped
STATES, JOURNALS = "states", "journals"
LINGER_S = 60.0  # of a trial on another node, until the store has what only that node's disk holds
FEW_PIXELS = 2**25  # bytes of images that one process decodes before a cluster's first answer


def open_store(
    study: str, name: str, folder: Path, cells: dict[str, Experiment], options: LaunchOptions
) -> tracking.Tracker:
    """The store, made once here, and proof that the name is free or continues the same sweep."""
    mirror = mirror_of(name, options)
    before: dict[str, Any] = {}
    if options.resume:
        if mirror is not None and not (folder / MANIFEST).exists() and mirror.exists(MANIFEST):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MANIFEST).write_bytes(mirror.read(MANIFEST))
        before = _check_same(folder, cells, options)
    taken = (
        f"a sweep called {name!r} exists; choose another --name, or continue it with "
        f"--name {name} --resume"
    )
    # A lock alone is of a launch that was killed before it had prepared anything.
    used = any(path.name != LOCK for path in folder.glob("*"))
    if not options.resume and (used or (mirror and mirror.exists(MANIFEST))):
        raise ValueError(taken)
    tracker = _tracker(study, options)
    if not options.resume and tracker.find(sweep=name):
        raise ValueError(taken)
    here = tracking.redact(tracker.uri)
    there = before.get("tracking_uri", here)
    config.require(
        options.tracking_uri is not None or there == here,
        f"--resume: the sweep was started with --tracking-uri {there}; give it again, or where "
        "its store is now",
    )
    return tracker


def folder_of(name: str, options: LaunchOptions) -> Path:
    """Where a sweep keeps its own files."""
    given = None if mirror_of(name, options) else options.storage
    return Path(given or home() / "sweeps").expanduser().absolute() / name


def mirror_of(name: str, options: LaunchOptions) -> Folder | None:
    """The sweep's folder on a store, where --storage is a URI."""
    storage = options.storage or ""
    return Folder(storage) / name if "://" in storage else None


def _tracker(study: str, options: LaunchOptions) -> tracking.Tracker:
    uri = tracking.resolve_uri(options.tracking_uri or f"sqlite:///{home() / 'mlflow.db'}")
    return tracking.Tracker.create(uri, study, home() / "mlartifacts")


def note_stopped(folder: Path, params: Params) -> None:
    """The scheduler has stopped this cell: a resume does not take it up again."""
    with (folder / STOPPED).open("a") as file:
        file.write(cell_key(params) + "\n")


class Searched(NamedTuple):
    """done: the cells that a search has finished with all seeds, each with the mean over them of
    its best validation FCD. begun: those that were cut off. over: how many have failed, or were
    stopped by the scheduler."""

    done: list[tuple[Params, float]]
    begun: list[Params]
    over: int


def searched(study: str, options: LaunchOptions) -> Searched:
    """What has become of the trials of the search that is resumed."""
    assert options.name is not None
    values: dict[str, dict[str, float]] = {}
    over = set()  # failed, or stopped by the scheduler
    folder = folder_of(options.name, options)
    with contextlib.suppress(FileNotFoundError):
        over |= set((folder / STOPPED).read_text().splitlines())
    tracker = _tracker(study, options)
    with lock(folder):  # what a live sweep has to deliver is its own
        _deliver(tracker, folder)
    for run in tracker.curves(options.name, ()):
        of_cell = values.setdefault(run.tags["cell"], {})
        if run.status == "FINISHED":
            found = run.scalars["fcd_val_best"]
            of_cell[run.tags["seed"]] = min(found, of_cell.get(run.tags["seed"], math.inf))
        elif run.status == "FAILED":
            over.add(run.tags["cell"])
    seeds = {str(seed) for seed in options.seeds}
    done = [
        (json.loads(cell), sum(of_cell.values()) / len(of_cell))
        for cell, of_cell in values.items()
        if of_cell.keys() == seeds
    ]
    begun = [
        json.loads(cell)
        for cell, of_cell in values.items()
        if of_cell.keys() != seeds and cell not in over
    ]
    return Searched(done, begun, len(over - {cell_key(params) for params, _ in done}))


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a sweep's folder. Raises ValueError where a live process does.

    The lock is the kernel's, so one whose process was killed is free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = FileLock(folder / LOCK)
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"the sweep in {folder} is running: wait for it, stop it, or choose another --name"
        ) from None
    try:
        yield
    finally:
        held.release()
        if all(path.name == LOCK for path in folder.iterdir()):  # nothing came of it
            shutil.rmtree(folder)


def _done_before(tracker: tracking.Tracker, name: str, folder: Path) -> dict[str, float]:
    """The runs of a resumed sweep that have finished, once the store has heard of all."""
    _deliver(tracker, folder)
    return tracker.finished(name)


def _deliver(tracker: tracking.Tracker, folder: Path) -> None:
    """What an earlier launch of the sweep could not deliver."""
    for journal, reason in deliver_all(tracker, folder / JOURNALS, patience=5).items():
        print(f"warning: {journal} could not be delivered: {reason}")


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
    before: Collection[str],
) -> bool:
    """Deliver what is still on disk, and say how it went: the table, the failures, where
    everything is, and how to see it. slots: trials at a time; before: keys of runs that an
    earlier launch has finished. Whether the tracking store has it all."""
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
        new = (run for run in curves if run.tags["key"] not in before)
        times = report.times(new, slots, seconds)
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


def new_name(study: str) -> str:
    return f"{study}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _manifest(cells: dict[str, Experiment], options: LaunchOptions) -> dict[str, Any]:
    """What decides a sweep's results."""
    return {
        "seeds": list(options.seeds),
        "cells": {key: config.to_dict(cell) for key, cell in cells.items()},
    }


def write_manifest(
    study: str,
    folder: Path,
    cells: dict[str, Experiment],
    tracker: tracking.Tracker,
    options: LaunchOptions,
    sweep: Sweep,
) -> None:
    """sweep.json, from which `--resume` and jobs/replay_tracking.py know the sweep again."""
    about = {
        "study": study,
        "tracking_uri": tracking.redact(tracker.uri),
        "gpus_per_trial": options.gpus_per_trial,
        "compute": asdict(sweep.compute),
        "together": sweep.together,
    }
    text = json.dumps({**about, **_manifest(cells, options)}, indent=1) + "\n"
    Folder(folder).write(MANIFEST, text.encode())
    if mirror := mirror_of(folder.name, options):
        mirror.write(MANIFEST, text.encode())


def _check_same(
    folder: Path, cells: dict[str, Experiment], options: LaunchOptions
) -> dict[str, Any]:
    """What sweep.json says. Raises ValueError where it is missing or of another sweep."""
    try:
        before: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, json.JSONDecodeError):
        raise ValueError(
            f"no sweep to continue in {folder}; leave out --resume to start it"
        ) from None
    now = _manifest(cells, options)
    if before["seeds"] != now["seeds"]:
        raise ValueError(
            f"--resume: the sweep was started with seeds {before['seeds']}, got {now['seeds']}"
        )
    for cell in before["cells"].values():
        cell.setdefault("compute", None)  # of a sweep from before there was a choice
    for key in sorted({*before["cells"], *now["cells"]}):
        if before["cells"].get(key) != now["cells"].get(key):
            raise ValueError(
                f"--resume: cell {key} is not what the sweep in {folder} was started "
                "with; give the same flags, or another --name"
            )
    return before
