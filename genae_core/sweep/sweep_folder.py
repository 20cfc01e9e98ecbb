"""A sweep's folder: where it is, who holds it, and what it is known again by.

Its name is free, or continues the same sweep; a search also learns from it what it has tried.
"""

import contextlib
import json
import math
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from genae_core import config
from genae_core.config.home import default_store, home
from genae_core.data.storage import Folder
from genae_core.experiment.experiment import Experiment
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.runs import Params, Sweep, cell_key
from genae_core.tracking import mlflow_store, store_uri
from genae_core.tracking.delivery import deliver_all

# In the sweep's folder: the states of trainings that have not ended, and what the tracking store
# does not have yet.
MANIFEST, LOCK = "sweep.json", ".lock"
STOPPED = "stopped.jsonl"  # the cells that a scheduler has stopped
STATES, JOURNALS = "states", "journals"


def new_name(study: str) -> str:
    return f"{study}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def folder_of(name: str, options: LaunchOptions) -> Path:
    """Where a sweep keeps its own files."""
    given = None if mirror_of(name, options) else options.storage
    return Path(given or home() / "sweeps").expanduser().absolute() / name


def mirror_of(name: str, options: LaunchOptions) -> Folder | None:
    """The sweep's folder on a store, where --storage is a URI."""
    storage = options.storage or ""
    return Folder(storage) / name if "://" in storage else None


def open_store(
    study: str, name: str, folder: Path, cells: dict[str, Experiment], options: LaunchOptions
) -> mlflow_store.Tracker:
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
    here = store_uri.redact(tracker.uri)
    there = before.get("tracking_uri", here)
    config.require(
        options.tracking_uri is not None or there == here,
        f"--resume: the sweep was started with --tracking-uri {there}; give it again, or where "
        "its store is now",
    )
    return tracker


def _tracker(study: str, options: LaunchOptions) -> mlflow_store.Tracker:
    uri = store_uri.resolve_uri(options.tracking_uri or default_store())
    return mlflow_store.Tracker.create(uri, study, home() / "mlartifacts")


def _check_same(
    folder: Path, cells: dict[str, Experiment], options: LaunchOptions
) -> dict[str, Any]:
    """What sweep.json says. Raises ValueError where it is missing or of another sweep."""
    try:
        before: dict[str, Any] = config.canonical(json.loads((folder / MANIFEST).read_text()))
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
        if cell["compute"] is not None:
            cell["compute"].setdefault("cuda_graphs", False)
    for key in sorted({*before["cells"], *now["cells"]}):
        if before["cells"].get(key) != now["cells"].get(key):
            raise ValueError(
                f"--resume: cell {key} is not what the sweep in {folder} was started "
                "with; give the same flags, or another --name"
            )
    return before


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
    tracker: mlflow_store.Tracker,
    options: LaunchOptions,
    sweep: Sweep,
) -> None:
    """sweep.json, from which `--resume` and jobs/replay_tracking.py know the sweep again."""
    about = {
        "study": study,
        "tracking_uri": store_uri.redact(tracker.uri),
        "gpus_per_trial": options.gpus_per_trial,
        "compute": asdict(sweep.compute),
        "together": sweep.together,
    }
    text = json.dumps({**about, **_manifest(cells, options)}, indent=1) + "\n"
    Folder(folder).write(MANIFEST, text.encode())
    if mirror := mirror_of(folder.name, options):
        mirror.write(MANIFEST, text.encode())


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
        deliver(tracker, folder)
    for run in tracker.read_runs(options.name, ()):
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


def deliver(tracker: mlflow_store.Tracker, folder: Path) -> None:
    """What an earlier launch of the sweep could not deliver."""
    for journal, reason in deliver_all(tracker, folder / JOURNALS, patience=5).items():
        print(f"warning: {journal} could not be delivered: {reason}")
