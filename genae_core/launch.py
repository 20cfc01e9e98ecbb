"""launch(): a study's grid as Ray Tune trials. The only importer of ray.tune and optuna."""

import itertools
import json
import os
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # MLflow holds the results

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search.optuna import OptunaSearch

from genae_core import cluster, config, report, tracking
from genae_core.cell import Params, Sweep, cell_key, label, run_cell
from genae_core.data.base import Splits
from genae_core.experiment import Experiment, resolve, warnings_of
from genae_core.home import code_version, home
from genae_core.metrics.classifier import Classifier, cached_classifier, load_classifier
from genae_core.progress import Board

Axes = Mapping[str, Sequence[str | int | float | bool]]


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """Where and how wide a sweep runs."""

    seeds: tuple[int, ...] = (0,)
    """Seeds of the training; each cell is trained once with each."""
    trials_in_parallel: int | None = None
    """Trials at a time (default: as many as the CPUs and GPUs hold)."""
    cpus_per_trial: int = 1
    """CPUs of a trial, and so its threads."""
    gpus_per_trial: float = 0.0
    """GPUs of a trial; a fraction such as 0.25 puts several trials on one GPU."""
    asha: bool = False
    """Stop trials that are behind the others at the same epoch (ASHA). For searches: a stopped
    cell has no curve, so leave it off where cells are compared."""
    tracking_uri: str | None = None
    """MLflow store: sqlite:///PATH or http://HOST:PORT (default: mlflow.db in GENAE_HOME)."""
    storage: Path | None = None
    """Folder of the sweep's own files (default: sweeps/ in GENAE_HOME)."""
    shared_storage: bool = False
    """Say that --storage and an SQLite --tracking-uri are seen by every node, as over NFS."""
    name: str | None = None
    """Name of the sweep (default: study, UTC time, suffix). One that exists is refused."""
    resume: bool = False
    """Continue the sweep called --name: what has finished is not run again."""
    ray_address: str | None = None
    """Cluster to join, e.g. auto (default: RAY_ADDRESS, else a Ray for this sweep alone)."""
    print: bool = False
    """Show the trials that would run, and stop."""

    def __post_init__(self) -> None:
        config.require(len(self.seeds) > 0, "--seeds must name at least one", seeds=self.seeds)
        config.require(len(set(self.seeds)) == len(self.seeds), "--seeds must differ",
                       seeds=self.seeds)
        config.require_positive_int(cpus_per_trial=self.cpus_per_trial)
        config.require_finite(0, gpus_per_trial=self.gpus_per_trial)
        if self.trials_in_parallel is not None:
            config.require_positive_int(trials_in_parallel=self.trials_in_parallel)
        config.require(not self.resume or self.name is not None,
                       "--resume continues a sweep: give its --name", name=self.name)
        if self.name is not None:
            plain = self.name.translate(str.maketrans("", "", "-_.")).isalnum()
            config.require(plain and self.name[0].isalnum(),
                           "--name takes letters, digits, '.', '_' and '-'", name=self.name)


def launch(
    study: str, axes: Axes, experiment: Callable[[Params], Experiment], options: LaunchOptions
) -> int:
    """Run every cell of the axes' product; returns the process's exit code.

    0: every trial finished. 1: some failed, the table shows the others. 2: something the user
    gave was wrong; one message said so before any training. 130: interrupted.
    """
    began = time.monotonic()
    try:
        product = itertools.product(*axes.values())
        grid = [dict(zip(axes, values, strict=True)) for values in product]
        config.require(len(grid) > 0, "every axis needs a value", axes=dict(axes))
        cells = {cell_key(params): experiment(params) for params in grid}
        config.require(len(cells) == len(grid), "an axis names a value twice", axes=dict(axes))
        if options.print:
            _print_cells(study, grid, cells, options.seeds)
            return 0
        name = options.name or _new_name(study)
        folder = (options.storage or home() / "sweeps").expanduser().absolute() / name
        tracker = _open_store(study, name, folder, cells, options)
        sweep, splits, classifier = _prepare(study, name, cells, tracker, options)
        parallel = _connect(tracker.uri, options)
    except (ValueError, OSError) as error:
        cluster.disconnect()
        print(f"error: {tracking.redact(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        cluster.disconnect()
        print("\nstopped before any trial had started", file=sys.stderr)
        return 130
    _write_manifest(folder, cells, options)
    print(f"sweep {name}: {len(cells)} trials x {len(options.seeds)} seeds on "
          f"{sweep.tags['dataset']}, {parallel} trials at a time. Ctrl-C stops it and keeps what "
          "has finished.", flush=True)
    errors, interrupted = _tune(axes, sweep, splits, classifier, folder, parallel, options)
    cluster.disconnect()
    for run in tracker.find(sweep=name):
        if run.info.status == "RUNNING":
            tracker.finish(run.info.run_id, "KILLED", "the sweep ended before it did")
    _conclude(study, name, folder, tracker, cells, errors, interrupted, time.monotonic() - began)
    return 130 if interrupted else 1 if errors else 0


def _open_store(
    study: str, name: str, folder: Path, cells: dict[str, Experiment], options: LaunchOptions
) -> tracking.Tracker:
    """The store, made once here, and proof that the name is free or continues the same sweep."""
    uri = tracking.resolve_uri(options.tracking_uri or f"sqlite:///{home() / 'mlflow.db'}")
    if options.resume:
        _check_same(folder, cells, options)
    taken = (f"a sweep called {name!r} exists; choose another --name, or continue it with "
             f"--name {name} --resume")
    if not options.resume and folder.exists():
        raise ValueError(taken)
    tracker = tracking.Tracker.create(uri, study, home() / "mlartifacts")
    if not options.resume and tracker.find(sweep=name):
        raise ValueError(taken)
    return tracker


def _prepare(
    study: str, name: str, cells: dict[str, Experiment], tracker: tracking.Tracker,
    options: LaunchOptions,
) -> tuple[Sweep, Splits, Classifier]:
    """Read the data and complete the configs once; train the classifier or load it."""
    experiments = list(cells.values())
    data = experiments[0].data
    print(f"reading {data.name} ...", flush=True)
    splits = data.load()
    for note in splits.notes:
        print(f"note: {note}")
    resolved = {key: resolve(cell, splits) for key, cell in cells.items()}
    for warning in sorted({text for cell in resolved.values() for text in warnings_of(cell)}):
        print(f"warning: {warning}")
    recipe = next(iter(resolved.values())).classifier
    folder, about = cached_classifier(
        recipe, data.name, splits, data.binarize, home() / "classifiers",
        on_train=lambda: print(f"training the FCD's classifier of {data.name}, once ...",
                               flush=True))
    print(f"classifier {folder.name}: {about['accuracy']:.2%} accurate on held-out images")
    command = shlex.join([Path(sys.executable).name, *sys.argv])
    tags = {
        **code_version(), "command": tracking.redact(command), "study": study,
        "dataset": data.name, "data_sha256": about["data"],
        "classifier_sha256": about["sha256"], "classifier_recipe": about["recipe"],
        "classifier_accuracy": f"{about['accuracy']:.4f}",
    }
    sweep = Sweep(name, tracker.uri, tracker.experiment_id, tags, options.seeds,
                  options.cpus_per_trial, options.gpus_per_trial, options.asha, resolved)
    return sweep, splits, load_classifier(folder)


def _connect(uri: str, options: LaunchOptions) -> int:
    """Join or start Ray; the number of trials at a time."""
    nodes = cluster.connect(options.ray_address, os.cpu_count() or 1)
    local = tracking.is_local(uri) and not options.shared_storage
    config.require(nodes == 1 or not local, "on several nodes the trials cannot all reach an "
                   "SQLite store: give --tracking-uri http://HOST:PORT and a shared --storage, "
                   "or --shared-storage if every node sees these", nodes=nodes)
    have = cluster.resources()
    slots = have.get("CPU", 0) // options.cpus_per_trial
    if options.gpus_per_trial > 0:
        slots = min(slots, have.get("GPU", 0) // options.gpus_per_trial)
    if options.trials_in_parallel is not None:
        return options.trials_in_parallel
    config.require(slots >= 1, "no node holds a trial: lower --cpus-per-trial or "
                   "--gpus-per-trial, or set --trials-in-parallel where the cluster will grow",
                   cluster=have)
    return int(slots)


class _Watch(tune.Callback):
    """Tune's events to the board."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def on_step_end(self, iteration: int, trials: list[Any], **info: object) -> None:
        self.board.tick()

    def on_trial_start(
        self, iteration: int, trials: list[Any], trial: Any, **info: object  # noqa: ANN401
    ) -> None:
        self.board.started(label(trial.config))

    def on_trial_complete(
        self, iteration: int, trials: list[Any], trial: Any, **info: object  # noqa: ANN401
    ) -> None:
        last = trial.last_result or {}
        if last.get("finished"):
            self.board.finished(label(trial.config), last["fcd_val"])
        else:
            self.board.stopped(label(trial.config))

    def on_trial_error(
        self, iteration: int, trials: list[Any], trial: Any, **info: object  # noqa: ANN401
    ) -> None:
        self.board.failed(label(trial.config))


def _tune(
    axes: Axes, sweep: Sweep, splits: Splits, classifier: Classifier, folder: Path, parallel: int,
    options: LaunchOptions,
) -> tuple[list[tuple[str, str]], bool]:
    """Run the trials: the failed ones with their reasons, and whether Ctrl-C cut the sweep."""

    def trainable(params: Params, sweep: Sweep, splits: Splits, classifier: Classifier) -> None:
        run_cell(params, sweep, splits, classifier, tune.report)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # A study compares cells, so it visits each once; TPE would favour the good ones.
    values = {name: list(axes[name]) for name in axes}
    grid = optuna.samplers.GridSampler(values, seed=0)
    reports = max(e.training.epochs for e in sweep.cells.values()) * len(sweep.seeds) + 1
    asha = ASHAScheduler(metric="fcd_val", mode="min", max_t=reports,
                         grace_period=max(1, reports // 4)) if options.asha else None
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trainable, sweep=sweep, splits=splits, classifier=classifier),
            {"cpu": options.cpus_per_trial, "gpu": options.gpus_per_trial}),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(partial(_suggest, values), metric="fcd_val", mode="min", sampler=grid),
            scheduler=asha or FIFOScheduler(), num_samples=len(sweep.cells),
            max_concurrent_trials=parallel, reuse_actors=True),
        run_config=tune.RunConfig(
            name=f"tune-{datetime.now(UTC):%Y%m%d-%H%M%S}", storage_path=str(folder), verbose=0,
            callbacks=[_Watch(Board(len(sweep.cells)))]),
    )
    try:
        results = tuner.fit()
    except KeyboardInterrupt:
        return [], True
    errors = [(label(result.config or {}), str(result.error).strip().splitlines()[-1])
              for result in results if result.error]
    ended = [result for result in results
             if result.error or options.asha or (result.metrics or {}).get("finished")]
    return errors, len(ended) < len(sweep.cells)


def _suggest(axes: dict[str, list[str | int | float | bool]], trial: optuna.Trial) -> None:
    for name, values in axes.items():
        trial.suggest_categorical(name, values)


def _conclude(
    study: str, name: str, folder: Path, tracker: tracking.Tracker, cells: dict[str, Experiment],
    errors: list[tuple[str, str]], interrupted: bool, seconds: float,
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
    print(f"{'interrupted' if interrupted else 'done'} after {seconds:.0f} s: {len(cells)} trials, "
          f"{len(errors)} failed; {len(finished)} finished runs")
    print(f"runs:   {tracking.redact(tracker.uri)}, experiment {study}, tag sweep = {name}")
    print(f"files:  {folder} (table.txt, curves.png)")
    default = tracker.uri == f"sqlite:///{home() / 'mlflow.db'}"
    served = tracker.uri.startswith("http")
    print("see it: " + (f"open {tracking.redact(tracker.uri)}" if served else "make ui" if default
                        else f"make ui TRACKING_URI={tracking.redact(tracker.uri)}"))
    if interrupted:
        print(f"to go on: the same command with --name {name} --resume")


def _print_cells(
    study: str, grid: list[Params], cells: dict[str, Experiment], seeds: tuple[int, ...]
) -> None:
    chains = next(iter(cells.values())).chains
    print(f"{study}: {len(grid)} trials x {len(seeds)} seeds x {len(chains)} chain settings = "
          f"{len(grid) * len(seeds) * len(chains)} runs")
    for number, params in enumerate(grid, 1):
        print(f"  {number:>3}  {label(params)}")


def _new_name(study: str) -> str:
    return f"{study}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _manifest(cells: dict[str, Experiment], options: LaunchOptions) -> dict[str, Any]:
    return {"seeds": list(options.seeds),
            "cells": {key: config.to_dict(cell) for key, cell in cells.items()}}


def _write_manifest(folder: Path, cells: dict[str, Experiment], options: LaunchOptions) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(_manifest(cells, options), indent=1) + "\n")


def _check_same(folder: Path, cells: dict[str, Experiment], options: LaunchOptions) -> None:
    try:
        before = json.loads((folder / "sweep.json").read_text())
    except (OSError, json.JSONDecodeError):
        raise ValueError(f"no sweep to continue in {folder}; leave out --resume to start "
                         "it") from None
    now = _manifest(cells, options)
    if before["seeds"] != now["seeds"]:
        raise ValueError(f"--resume: the sweep was started with seeds {before['seeds']}, got "
                         f"{now['seeds']}")
    for key in sorted({*before["cells"], *now["cells"]}):
        if before["cells"].get(key) != now["cells"].get(key):
            raise ValueError(f"--resume: cell {key} is not what the sweep in {folder} was started "
                             "with; give the same flags, or another --name")
