"""A sweep's folder: its place, its lock, and the manifest that tells whether a sweep is the same.

A new sweep needs a new name, and a resumed sweep the name of the same sweep. A resumed search also
reads from the folder and the store which cells it has tried.
"""

import contextlib
import dataclasses
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
from genae_core.config.console import say
from genae_core.config.differences import first_difference
from genae_core.config.home import default_store, home
from genae_core.config.messages import print_warning
from genae_core.config.own_parts import describe_changes
from genae_core.config.places import is_same_place, is_uri, locate
from genae_core.config.redaction import is_redacted, redact, redact_uri, redact_values
from genae_core.data import durable, sealed
from genae_core.data.base import DataConfig
from genae_core.data.roots import root_of
from genae_core.data.shards import WHERE
from genae_core.data.storage import Folder
from genae_core.experiment.experiment import Experiment
from genae_core.metrics.classifier import ClassifierConfig
from genae_core.models.wrapped_checkpoint import WrappedConfig
from genae_core.sweep.cells import Params, cell_key
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import PreparedSweep
from genae_core.tracking import mlflow_store, store_uri
from genae_core.tracking.delivery import deliver_all
from genae_core.tracking.moved_home import artifacts_folder

MANIFEST = "sweep.json"
LOCK = ".lock"
STOPPED = "stopped.json"  # the cells that a scheduler has stopped
STOPPED_BEFORE = "stopped.jsonl"  # the file that version 0.1 wrote, with a cell on each line
# The folders of snapshots of trainings that have not ended, and of what the tracking store does
# not have yet.
STATES = "states"
JOURNALS = "journals"


def new_name(study: str) -> str:
    """A new name: the study, the UTC time and a random suffix."""
    return f"{study}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def folder_of(name: str, options: LaunchOptions) -> Path:
    """The folder of a sweep's own files on this machine."""
    storage = None if mirror_of(name, options) else options.storage
    return Path(storage or home() / "sweeps") / name


def mirror_of(name: str, options: LaunchOptions) -> Folder | None:
    """The copy of the sweep's folder on a store, if --storage is a URI."""
    storage = options.storage
    return Folder(storage) / name if storage is not None and is_uri(storage) else None


def decide_resume(study: str, options: LaunchOptions) -> LaunchOptions:
    """The options with `resume` decided, if it is "auto": there is a sweep to resume, or not.

    A resumed sweep that runs until it is settled then has the seeds that it was started with.
    """
    if options.resume != "auto":
        return _keep_seeds(options)
    assert options.name is not None
    if options.print:  # which opens no store
        return dataclasses.replace(options, resume=False)
    folder = folder_of(options.name, options)
    begun = _is_used(folder, options) or bool(_tracker(study, options).find(sweep=options.name))
    say(f"--resume auto: the sweep {options.name} is {'continued' if begun else 'new'}")
    return _keep_seeds(dataclasses.replace(options, resume=begun))


def _keep_seeds(options: LaunchOptions) -> LaunchOptions:
    """The options with the seeds that the sweep has, if they are chosen by --until-settled."""
    if not (options.resume and options.until_settled) or not options.has_default_seeds:
        return options
    assert options.name is not None
    manifest = _stored_manifest(folder_of(options.name, options), options)
    seeds = tuple(manifest["seeds"]) if manifest else (0,)
    if seeds == (0,):
        return options
    others = [seed for seed in (0, 1) if seed not in seeds]
    return dataclasses.replace(options, seeds=seeds if len(seeds) > 1 else (*seeds, *others))


def check_flags(
    folder: Path, cells: dict[str, Experiment], options: LaunchOptions, more_seeds: bool = False
) -> dict[str, Any]:
    """Check what can be checked before the tracking store is opened, which takes seconds.

    A sweep whose sweep.json was lost or damaged can still be resumed. Its flags can then not be
    compared, but a run's key says whether a run is the same.

    more_seeds: Whether a resumed sweep may have more seeds than it was started with.

    Returns the manifest of a resumed sweep; empty if it is missing or not whole. Raises ValueError
    if the name of a new sweep is used in its folder, or if a resumed sweep is not the same.
    """
    roots = {root_of(cell.data) for cell in cells.values()}
    for place in {options.shards, *roots} - {None}:
        Folder(str(place)).check_answers()  # now, and not after Ray has started
    _refuse_missing_root(next(iter(cells.values()), None), options)
    before = _check_same(folder, cells, options, more_seeds) if options.resume else {}
    if not options.resume and _is_used(folder, options):
        raise _name_exists(folder.name)
    _store_uri(options)
    return before


def _refuse_missing_root(cell: Experiment | None, options: LaunchOptions) -> None:
    """Raise the dataset's own ValueError if the folder of its files does not exist.

    Whether a folder holds the files takes longer to know, and is asked when the data is read.
    """
    root = None if cell is None or options.shards is not None else root_of(cell.data)
    if cell is not None and root is not None and not is_uri(root) and not Path(root).exists():
        cell.data.stamp()


def open_store(
    study: str, folder: Path, before: dict[str, Any], options: LaunchOptions
) -> mlflow_store.Tracker:
    """Open the tracking store, and make it if it is missing.

    before: What `check_flags` has returned.

    Raises ValueError if the store has runs of a new sweep's name, or if there is no sweep to
    resume.
    """
    name = folder.name
    tracker = _tracker(study, options)
    used = _is_used(folder, options) or bool(tracker.find(sweep=name))
    if used and not options.resume:
        raise _name_exists(name)
    if options.resume and not used:
        raise ValueError(
            f"--resume: there is no sweep in {folder}; leave out --resume to start it"
        )
    if options.resume and not before:
        print(
            f"warning: {folder / MANIFEST} is missing or damaged, so nothing tells whether these "
            "are the flags that the sweep was started with. What was trained with these flags is "
            "continued, and everything else is trained anew."
        )
    uri_now = redact(tracker.uri)
    uri_before: str = before.get("tracking_uri", uri_now)
    config.require(
        options.tracking_uri is not None or store_uri.is_same_store(uri_before, uri_now),
        f"--resume: the sweep was started with --tracking-uri {uri_before}; give it again, or the "
        "present address of the store",
    )
    return tracker


def _name_exists(name: str) -> ValueError:
    return ValueError(
        f"a sweep called {name!r} exists; choose another --name, or continue it with "
        f"--name {name} --resume"
    )


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The content of a sweep's sweep.json; None if the file is missing or is not whole."""
    try:
        manifest = sealed.read(folder / MANIFEST)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    types: dict[str, type] = {
        **{"seeds": list, "cells": dict, "compute": dict},
        **dict.fromkeys(("study", "tracking_uri", "features"), str),
    }
    whole = {"seeds", "cells"} <= manifest.keys() and all(
        isinstance(manifest[name], types[name]) for name in types.keys() & manifest.keys()
    )
    return manifest if whole else None


def _stored_manifest(folder: Path, options: LaunchOptions) -> dict[str, Any] | None:
    """The manifest of a sweep, which another machine may have written to --storage."""
    mirror = mirror_of(folder.name, options)
    if mirror is not None and read_manifest(folder) is None and mirror.exists(MANIFEST):
        Folder(folder).write(MANIFEST, mirror.read(MANIFEST))
    return read_manifest(folder)


def _is_used(folder: Path, options: LaunchOptions) -> bool:
    """Whether a sweep of this name has begun.

    A launch that was killed before its first trial leaves only its lock, and perhaps a sweep.json
    that is not whole.
    """
    mirror = mirror_of(folder.name, options)
    return (
        read_manifest(folder) is not None
        or any(not path.name.startswith((".", MANIFEST)) for path in folder.glob("*"))
        or (mirror is not None and mirror.exists(MANIFEST))
    )


def _tracker(study: str, options: LaunchOptions) -> mlflow_store.Tracker:
    return mlflow_store.Tracker.create(_store_uri(options), study, artifacts_folder())


def _store_uri(options: LaunchOptions) -> str:
    """The address of the tracking store, which is checked."""
    return store_uri.resolve_uri(options.tracking_uri or default_store())


def _check_same(
    folder: Path, cells: dict[str, Experiment], options: LaunchOptions, more_seeds: bool = False
) -> dict[str, Any]:
    """The manifest of the sweep to resume; empty if it is missing or not whole.

    Raises ValueError if the sweep differs.
    """
    manifest = _stored_manifest(folder, options)
    if manifest is None:
        return {}
    # Version 0.1 stored the passwords of data roots.
    before: dict[str, Any] = redact_values(config.canonicalize(manifest))
    now = _what_decides(cells, options)
    stored_code = before.get(config.OWN_CODE)
    changes = {text for cell in cells.values() for text in describe_changes(cell, stored_code)}
    for change in sorted(changes):
        print_warning(change)
    _check_seeds(before["seeds"], now["seeds"], more_seeds)
    for cell in before["cells"].values():
        cell.setdefault("compute", None)  # manifests of earlier versions do not have it
        if cell["compute"] is not None:
            cell["compute"].setdefault("cuda_graphs", False)
    for key in sorted({*before["cells"], *now["cells"]}):
        stored, present = before["cells"].get(key), now["cells"].get(key)
        if stored is None or present is None:
            difference = "it is new" if stored is None else "the present flags do not name it"
        else:
            difference = first_difference(_without_place(stored), _without_place(present)) or ""
        if difference:
            raise ValueError(
                f"--resume: cell {key} is not what the sweep in {folder} was started "
                f"with: {difference}; give the same flags, or another --name"
            )
    return before


def _check_seeds(before: list[int], now: list[int], more: bool) -> None:
    """Raise ValueError unless the seeds are those of before, or also others if `more` allows it.

    A seed that is left out would still be in the table and in the page, in some cells perhaps.
    """
    if set(before) == set(now) or (more and set(before) < set(now)):
        return
    missing = [seed for seed in before if seed not in now]
    if missing:
        rule = f"name all of these seeds{', and more if you like' if more else ''}"
    else:
        rule = (
            "the cells of a search are compared by their mean over the same seeds; compare its "
            "best cells with more seeds in a study"
        )
    raise ValueError(
        f"--resume: the sweep was started with --seeds {_words(before)}, got {_words(now)}: {rule}"
    )


def _words(seeds: list[int]) -> str:
    return " ".join(map(str, seeds))


def _without_place(cell: dict[str, Any]) -> dict[str, Any]:
    """The JSON values of an experiment without the place of the images, which may have moved.

    The checkpoint of a finished autoencoder must be the same, however its place is spelled. That
    of a model of another package is known by its content, wherever it lies.
    """
    data = {name: value for name, value in cell["data"].items() if name not in WHERE}
    model = dict(cell["model"])
    if isinstance(model.get("finished"), str):
        model["finished"] = locate(model["finished"])
    if model[config.KEY] == config.name_of(WrappedConfig):
        del model["checkpoint"]
    return {**cell, "data": data, "model": model}


def keep_places(
    folder: Path, cells: dict[str, Experiment]
) -> tuple[dict[str, Experiment], DataConfig]:
    """The experiments of a resumed sweep as it was started, and the config to read its images.

    Run keys depend on how places were spelled, so the experiments keep the stored spelling. The
    images are read from the present root if that is another place.

    Args:
        folder: The folder of the sweep.
        cells: The experiments that the present flags make; `open_store` has checked them. They
            stay as they are if sweep.json is missing or not whole.

    Returns:
        The experiments and the data config. The data configs differ if the images have moved.
    """
    present = next(iter(cells.values())).data
    manifest = read_manifest(folder)
    if manifest is None:
        return cells, present
    stored_cells = manifest["cells"]
    stored: DataConfig = config.from_dict(next(iter(stored_cells.values()))["data"])
    kept = {}
    for key, cell in cells.items():
        model = config.from_dict(stored_cells[key]["model"])
        if model == cell.model:  # the checkpoint of another package may have moved
            model = cell.model
        kept[key] = dataclasses.replace(cell, data=stored, model=model)
    before, now = root_of(stored), root_of(present)
    if before is None or now is None:
        return kept, stored
    same = is_same_place(redact_uri(before), redact_uri(now))
    # The present root may hold the password that the stored one has lost.
    return kept, stored if same and not is_redacted(before) else present


def _what_decides(cells: dict[str, Experiment], options: LaunchOptions) -> dict[str, Any]:
    """The part of the manifest that decides the sweep's results."""
    return {
        "seeds": list(options.seeds),
        "cells": {key: config.to_dict(cell) for key, cell in cells.items()},
    }


def _own_code(cells: dict[str, Experiment]) -> dict[str, Any]:
    """The part of the manifest about the user's own classes; empty if all are genae's."""
    code = {
        name: at for cell in cells.values() for name, at in config.own_definitions(cell).items()
    }
    return {config.OWN_CODE: code} if code else {}


def write_manifest(prepared: PreparedSweep) -> None:
    """Write sweep.json, which `--resume` and `genae replay` read."""
    place, sweep, options = prepared.place, prepared.sweep, prepared.options
    classifier = sweep.classifier or next(iter(sweep.cells.values())).classifier
    about = {
        "study": place.study,
        "tracking_uri": redact(place.tracker.uri),
        "gpus_per_trial": options.gpus_per_trial,
        "compute": asdict(sweep.compute),
        "compute_from": sweep.compute_from,
        "together": sweep.stack_seeds,
        "classifier": config.to_dict(classifier),
        "features": sweep.features,
        **_what_decides(prepared.plan.cells, options),
        **_own_code(prepared.plan.cells),
    }
    text = sealed.to_text(about)
    Folder(place.folder).write(MANIFEST, text.encode())
    if mirror := mirror_of(place.name, options):
        mirror.write(MANIFEST, text.encode())


def replace_store(folder: Path, before: str, now: str) -> bool:
    """Enter another tracking URI in a sweep's manifest. Returns whether it had the one before."""
    about = read_manifest(folder)
    if about is None:
        return False  # not the folder of a sweep that can be resumed
    if not store_uri.is_same_store(about.get("tracking_uri", ""), before):
        return False
    about["tracking_uri"] = now
    Folder(folder).write(MANIFEST, (json.dumps(about, indent=1) + "\n").encode())
    return True


def stored_classifier(folder: Path) -> ClassifierConfig | None:
    """The recipe of the classifier that a sweep was started with.

    It is None for sweeps of versions that did not check their classifier, and if the manifest is
    missing or damaged, of which `open_store` warns.
    """
    try:
        stored = sealed.read(folder / MANIFEST).get("classifier")
    except (OSError, ValueError):
        return None
    return None if stored is None else config.from_dict(stored)


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a sweep's folder. Raises ValueError if a live process holds it.

    The kernel frees the lock of a killed process.
    """
    durable.make_folder(folder)
    file_lock = FileLock(folder / LOCK)
    try:
        file_lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"the sweep in {folder} is running: wait for it, stop it, or choose another --name"
        ) from None
    try:
        yield
    finally:
        file_lock.release()
        if all(path.name == LOCK for path in folder.iterdir()):  # the sweep did not begin
            shutil.rmtree(folder)


def note_stopped(folder: Path, params: Params) -> None:
    """Note that the scheduler has stopped this cell, so that a resumed search leaves it out."""
    cells = stopped_cells(folder) | {cell_key(params)}
    sealed.write(folder / STOPPED, {"cells": sorted(cells)})


def stopped_cells(folder: Path) -> set[str]:
    """The keys of the cells that `note_stopped` has noted; none, with a warning, if their file is
    damaged."""
    cells: set[str] = set()
    with contextlib.suppress(FileNotFoundError):
        cells |= set((folder / STOPPED_BEFORE).read_text().splitlines())
    try:
        cells |= set(sealed.read(folder / STOPPED)["cells"])
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError) as error:
        print_warning(f"the stopped cells are forgotten and may be tried again: {error}")
    return cells


class EarlierTrials(NamedTuple):
    """The earlier trials of a search that is resumed.

    Attributes:
        measured: The cells that have finished with all seeds, each with its best validation FCD,
            averaged over the seeds.
        cut_off: The cells that were interrupted, which are continued.
        failed_or_stopped: The number of cells that failed, or that the scheduler stopped.
    """

    measured: list[tuple[Params, float]]
    cut_off: list[Params]
    failed_or_stopped: int


def earlier_trials(study: str, options: LaunchOptions) -> EarlierTrials:
    """Read the earlier trials of the search that is resumed."""
    assert options.name is not None
    best: dict[str, dict[str, float]] = {}  # by cell and seed
    folder = folder_of(options.name, options)
    ended = stopped_cells(folder)  # cells that have failed, or that the scheduler has stopped
    tracker = _tracker(study, options)
    with lock(folder):  # a live sweep delivers its own journals
        deliver(tracker, folder)
    for run in tracker.read_runs(options.name, ()):
        by_seed = best.setdefault(run.tags["cell"], {})
        if run.status == "FINISHED":
            fcd, seed = run.scalars["fcd_val_best"], run.tags["seed"]
            by_seed[seed] = min(fcd, by_seed.get(seed, math.inf))
        elif run.status == "FAILED":
            ended.add(run.tags["cell"])
    seeds = {str(seed) for seed in options.seeds}
    measured = [
        (json.loads(cell), sum(by_seed.values()) / len(by_seed))
        for cell, by_seed in best.items()
        if by_seed.keys() == seeds
    ]
    cut_off = [
        json.loads(cell)
        for cell, by_seed in best.items()
        if by_seed.keys() != seeds and cell not in ended
    ]
    finished = {cell_key(params) for params, _ in measured}
    return EarlierTrials(measured, cut_off, len(ended - finished))


def deliver(tracker: mlflow_store.Tracker, folder: Path) -> None:
    """Deliver what an earlier launch of the sweep could not deliver."""
    for journal, reason in deliver_all(tracker, folder / JOURNALS, patience=5).items():
        print(f"warning: {journal} could not be delivered: {reason}")
