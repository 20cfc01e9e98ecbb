"""launch(): a study's grid, and search(): TPE, as Ray Tune trials. The only importer of optuna."""

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from ray.tune.search.optuna import OptunaSearch

from genae_core import config
from genae_core.experiment.experiment import Experiment
from genae_core.report.summary_run import publish
from genae_core.sweep import autotune, driver, ray_cluster, sweep_folder
from genae_core.sweep.cost import projected
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.runs import Params, Sweep, cell_key
from genae_core.sweep.tune import Plan, run_trials
from genae_core.tracking import mlflow_store, store_uri
from genae_core.tracking.mlflow_store import Tracker

Axes = Mapping[str, Sequence[str | int | float | bool]]

OnEnd = Callable[[Tracker, str, Path], None]


def launch(
    study: str,
    axes: Axes,
    experiment: Callable[[Params], Experiment | None],
    options: LaunchOptions,
    on_end: OnEnd = lambda *_: None,
) -> int:
    """Run every cell of the axes' product; returns the process's exit code.

    experiment: the cell's, or None where these coordinates mean nothing together. on_end: is
    given the store, the sweep's name and its folder, when all has run and is logged.

    0: every trial finished. 1: some failed, the table shows the others. 2: something the user
    gave was wrong; one message said so before any training. 130: interrupted, or cut by
    --max-hours, and to be resumed.
    """

    def plan() -> Plan:
        product = list(itertools.product(*axes.values()))
        config.require(len(product) > 0, "every axis needs a value", axes=dict(axes))
        twice = len(set(product)) < len(product)
        config.require(not twice, "an axis names a value twice", axes=dict(axes))
        every = [dict(zip(axes, values, strict=True)) for values in product]
        made = [(params, cell) for params in every if (cell := experiment(params))]
        config.require(len(made) > 0, "no cell of these axes means anything", axes=dict(axes))
        most = options.max_trials or len(made)
        config.require(
            len(made) <= most, "the study has more trials than --max-trials", trials=len(made)
        )
        grid = [params for params, _ in made]
        cells = {cell_key(params): cell for params, cell in made}
        searcher = visiting(axes, grid)
        return Plan(grid, cells, searcher, len(grid))

    return _launch(study, plan, options, on_end)


def visiting(axes: Axes, grid: list[Params]) -> OptunaSearch:
    """A study compares cells, so it visits each once; TPE would favour the good ones."""
    values = {name: sorted({params[name] for params in grid}, key=str) for name in axes}
    return OptunaSearch(
        partial(_suggest, values),
        metric="fcd_val",
        mode="min",
        points_to_evaluate=grid,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )


def _launch(study: str, plan_of: Callable[[], Plan], options: LaunchOptions, on_end: OnEnd) -> int:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with contextlib.ExitStack() as held:
        try:
            plan = plan_of()
            if options.print:
                driver.print_cells(study, plan.grid, plan.cells, options.seeds)
                if plan.seconds:
                    print(f"  then what TPE proposes, for {plan.seconds / 60:g} minutes in all")
                return 0
            name = options.name or sweep_folder.new_name(study)
            folder = sweep_folder.folder_of(name, options)
            tracker = sweep_folder.open_store(study, name, folder, plan.cells, options)
            held.enter_context(sweep_folder.lock(folder))
            _connect(tracker.uri, options)
            parallel = _parallel(options, plan.most)
            sweep, splits, classifier = driver.prepare(
                study, name, folder, plan.cells, tracker, parallel, options
            )
            if options.gpus_per_trial == "auto":
                share = autotune.gpu_share(folder, sweep, splits, classifier, options)
                options = replace(options, gpus_per_trial=share)
                sweep = replace(sweep, gpus=share)
                parallel = _parallel(options, plan.most)
            # What is measured takes a trial's place.
            with ray_cluster.foreseen(options.trial_resources, parallel - 1):
                compute = autotune.compute_of(folder, sweep, splits, options)
                sweep = replace(sweep, compute=compute)
                together = autotune.together_of(folder, sweep, splits, options)
                sweep = replace(sweep, together=together)
        except (ValueError, OSError, mlflow_store.StoreError) as error:
            ray_cluster.disconnect()
            print(f"error: {store_uri.redact(str(error))}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            ray_cluster.disconnect()
            print("\nstopped before any trial had started", file=sys.stderr)
            return 130
        sweep_folder.write_manifest(study, folder, plan.cells, tracker, options, sweep)
        began = time.monotonic()
        _announce(plan, sweep, parallel, tracker, options)
        count, errors, interrupted = run_trials(
            plan, sweep, splits, classifier, folder, parallel, options
        )
        ray_cluster.disconnect()
        took = time.monotonic() - began
        try:
            delivered = driver.conclude(
                study,
                name,
                folder,
                tracker,
                count,
                errors,
                interrupted,
                took,
                parallel,
                options.resume,
            )
            if delivered and not interrupted:
                on_end(tracker, name, folder)
            if delivered:
                publish(tracker, name, folder)
        except (KeyboardInterrupt, mlflow_store.StoreError) as error:
            why = store_uri.redact(str(error)) or "interrupted"
            print(
                f"\n{why}: the trials have ended; the same command with --name {name} --resume "
                "makes the tables anew",
                file=sys.stderr,
            )
            return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 130 if interrupted else 1 if errors or not delivered else 0


def _announce(
    plan: Plan, sweep: Sweep, parallel: int, tracker: Tracker, options: LaunchOptions
) -> None:
    limits = [f"{plan.most} trials"] if plan.most else []
    limits += [f"{plan.seconds / 60:g} minutes"] if plan.seconds else []
    hours = f", {options.max_hours:g} hours at most" if options.max_hours else ""
    print(
        f"sweep {sweep.name}: {' or '.join(limits)} x {len(sweep.seeds)} seeds on "
        f"{sweep.tags['dataset']}, {parallel} trials at a time{hours}. Ctrl-C stops it and keeps "
        "what has finished.",
        flush=True,
    )
    if options.price_per_node_hour is not None:
        nodes = -(-parallel // max(1, *ray_cluster.slots(options.trial_resources)))
        took: list[float] = []
        with contextlib.suppress(
            mlflow_store.StoreError
        ):  # then what earlier runs took is unknown
            took = tracker.run_seconds(dataset=sweep.tags["dataset"], stage="model")
        cost = projected(plan.most, len(sweep.seeds), parallel, nodes, took, options)
        print(cost, flush=True)


def _connect(uri: str, options: LaunchOptions) -> None:
    """Join or start Ray. Raises ValueError where it cannot run these trials."""
    nodes = ray_cluster.connect(options.ray_address, os.cpu_count() or 1)
    local = store_uri.is_local(uri) and not options.shared_storage
    config.require(
        not (local and options.joins)
        or ray_cluster.alone(options.trial_resources, options.trials_in_parallel or 0),
        "on several nodes, now or when the cluster grows, the trials cannot all reach an "
        "SQLite store: give --tracking-uri http://HOST:PORT and a shared --storage, "
        "or --shared-storage if every node sees these",
        nodes=nodes,
    )
    holds = sum(ray_cluster.slots(options.trial_resources))
    config.require(
        holds >= 1 or (options.joins and options.trials_in_parallel is not None),
        "nothing here holds a trial: lower --cpus-per-trial, --gpus-per-trial or "
        "--memory-per-trial, or join a cluster that will grow and set --trials-in-parallel",
        cluster=ray_cluster.resources(),
    )


def _parallel(options: LaunchOptions, most: int | None) -> int:
    """Trials at a time, of so many in all."""
    slots = ray_cluster.slots(options.trial_resources)
    parallel = options.trials_in_parallel or sum(slots)
    if options.max_nodes is not None:
        parallel = min(parallel, options.max_nodes * max(1, *slots))
    return min(parallel, most or parallel)


def _suggest(axes: dict[str, list[Any]], trial: optuna.Trial) -> None:
    for name, values in axes.items():
        trial.suggest_categorical(name, values)
