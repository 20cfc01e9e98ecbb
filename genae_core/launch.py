"""launch(): a study's grid as Ray Tune trials. The only importer of ray.tune and optuna."""

import itertools
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # MLflow holds the results
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the board speaks instead

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from genae_core import cluster, config, sweeping, tracking
from genae_core.cell import EXPERIMENT, Params, Sweep, cell_key, label, run_cell
from genae_core.data.base import Splits
from genae_core.experiment import Experiment
from genae_core.home import home
from genae_core.metrics.classifier import Classifier
from genae_core.options import LaunchOptions
from genae_core.progress import Board
from genae_core.tracking import Tracker

FAILED = "failed"  # the key under which a trial reports why

Axes = Mapping[str, Sequence[str | int | float | bool]]


class Plan(NamedTuple):
    """The trials of a sweep. cells: by cell_key, of a search the first alone. searcher: proposes
    them. most: how many, None without a limit. seconds: after which no more are started and the
    running ones end; None without a limit."""

    grid: list[Params]
    cells: dict[str, Experiment]
    searcher: OptunaSearch
    most: int | None
    seconds: float | None = None


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
    given the store, the sweep's name and its folder, when all is logged.

    0: every trial finished. 1: some failed, the table shows the others. 2: something the user
    gave was wrong; one message said so before any training. 130: interrupted.
    """

    def plan() -> Plan:
        product = list(itertools.product(*axes.values()))
        config.require(len(product) > 0, "every axis needs a value", axes=dict(axes))
        twice = len(set(product)) < len(product)
        config.require(not twice, "an axis names a value twice", axes=dict(axes))
        every = [dict(zip(axes, values, strict=True)) for values in product]
        made = [(params, cell) for params in every if (cell := experiment(params))]
        config.require(len(made) > 0, "no cell of these axes means anything", axes=dict(axes))
        grid = [params for params, _ in made]
        cells = {cell_key(params): cell for params, cell in made}
        # A study compares cells, so it visits each once; TPE would favour the good ones.
        values = {name: sorted({params[name] for params in grid}, key=str) for name in axes}
        searcher = OptunaSearch(
            partial(_suggest, values),
            metric="fcd_val",
            mode="min",
            points_to_evaluate=grid,
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
        return Plan(grid, cells, searcher, len(grid))

    return _launch(study, plan, options, on_end)


def search(
    study: str,
    first: Params,
    space: Callable[[optuna.trial.BaseTrial], None],
    experiment: Callable[[Params], Experiment],
    options: LaunchOptions,
    minutes: float,
    trials: int | None = None,
    on_end: OnEnd = lambda *_: None,
    known: Sequence[tuple[Params, float]] = (),
) -> int:
    """Look for the cell with the lowest validation FCD at its best step, by TPE, for so many
    minutes of trials, and at most so many trials; exit codes as `launch`.

    first: the cell that is tried first. space: suggests the coordinates of one trial; experiment:
    makes its experiment, in this process. known: cells and their validation FCD, as an earlier
    sweep has measured them; TPE learns from them, and then nothing is tried first.
    """

    def plan() -> Plan:
        config.require_finite(0, minutes=minutes)
        config.require(minutes > 0, "minutes must be > 0", minutes=minutes)
        if trials is not None:
            config.require_positive_int(trials=trials)
        config.require(not options.resume, "a search cannot be resumed yet", resume=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # Jointly: what is good for one family need not be for another.
            sampler = optuna.samplers.TPESampler(seed=0, multivariate=True, group=True)
        searcher = _Search(
            space,
            experiment,
            metric="fcd_val",
            mode="min",
            points_to_evaluate=None if known else [first],
            sampler=sampler,
            known=known,
        )
        cells = {cell_key(first): experiment(first)}
        return Plan([first], cells, searcher, trials, 60 * minutes)

    return _launch(study, plan, options, on_end)


class _Search(OptunaSearch):
    """Hands each trial its experiment, so that a worker needs none of the study's code."""

    def __init__(
        self,
        space: Callable[[optuna.trial.BaseTrial], None],
        experiment: Callable[[Params], Experiment],
        known: Sequence[tuple[Params, float]],
        **settings: Any,
    ) -> None:
        self.known, self.space = known, space
        super().__init__(space, **settings)
        self.experiment = experiment

    def _setup_study(self, mode: Any) -> None:
        super()._setup_study(mode)
        study: Any = self._ot_study
        for params, value in self.known:
            asked = optuna.trial.FixedTrial(params)
            self.space(asked)
            told = optuna.trial.create_trial(
                params=params, distributions=asked.distributions, value=value
            )
            study.add_trial(told)

    def suggest(self, trial_id: str) -> Any:
        params = super().suggest(trial_id)
        if not isinstance(params, dict):
            return params
        return {**params, EXPERIMENT: config.to_json(self.experiment(params))}


def _launch(study: str, plan_of: Callable[[], Plan], options: LaunchOptions, on_end: OnEnd) -> int:
    began = time.monotonic()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        plan = plan_of()
        if options.print:
            sweeping.print_cells(study, plan.grid, plan.cells, options.seeds)
            if plan.seconds:
                print(f"  then what TPE proposes, for {plan.seconds / 60:g} minutes in all")
            return 0
        name = options.name or sweeping.new_name(study)
        folder = (options.storage or home() / "sweeps").expanduser().absolute() / name
        tracker = sweeping.open_store(study, name, folder, plan.cells, options)
        parallel = _connect(tracker.uri, options)
        sweep, splits, classifier = sweeping.prepare(
            study, name, folder, plan.cells, tracker, parallel, options
        )
    except (ValueError, OSError) as error:
        cluster.disconnect()
        print(f"error: {tracking.redact(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        cluster.disconnect()
        print("\nstopped before any trial had started", file=sys.stderr)
        return 130
    sweeping.write_manifest(folder, plan.cells, options)
    limits = [f"{plan.most} trials"] if plan.most else []
    limits += [f"{plan.seconds / 60:g} minutes"] if plan.seconds else []
    print(
        f"sweep {name}: {' or '.join(limits)} x {len(options.seeds)} seeds on "
        f"{sweep.tags['dataset']}, {parallel} trials at a time. Ctrl-C stops it and keeps what "
        "has finished.",
        flush=True,
    )
    count, errors, interrupted = _tune(plan, sweep, splits, classifier, folder, parallel, options)
    cluster.disconnect()
    for run in tracker.find(sweep=name):
        if run.info.status == "RUNNING":
            tracker.finish(run.info.run_id, "KILLED", "the sweep ended before it did")
    sweeping.conclude(
        study, name, folder, tracker, count, errors, interrupted, time.monotonic() - began
    )
    on_end(tracker, name, folder)
    return 130 if interrupted else 1 if errors else 0


def _connect(uri: str, options: LaunchOptions) -> int:
    """Join or start Ray; the number of trials at a time."""
    joined = bool(options.ray_address or os.environ.get("RAY_ADDRESS"))
    nodes = cluster.connect(options.ray_address, os.cpu_count() or 1)
    local = tracking.is_local(uri) and not options.shared_storage
    config.require(
        nodes == 1 or not local,
        "on several nodes the trials cannot all reach an "
        "SQLite store: give --tracking-uri http://HOST:PORT and a shared --storage, "
        "or --shared-storage if every node sees these",
        nodes=nodes,
    )
    have = cluster.resources()
    slots = have.get("CPU", 0) // options.cpus_per_trial
    if options.gpus_per_trial > 0:
        slots = min(slots, have.get("GPU", 0) // options.gpus_per_trial)
    config.require(
        slots >= 1 or (joined and options.trials_in_parallel is not None),
        "nothing here holds a trial: lower --cpus-per-trial or --gpus-per-trial, or join a "
        "cluster that will grow and set --trials-in-parallel",
        cluster=have,
    )
    return options.trials_in_parallel or int(slots)


class _Watch(tune.Callback):
    """Tune's events to the board."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def on_step_end(self, iteration: int, trials: list[Any], **info: object) -> None:
        self.board.tick()

    def on_trial_start(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,
        **info: object,
    ) -> None:
        self.board.started(label(trial.config))

    def on_trial_complete(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,
        **info: object,
    ) -> None:
        last = trial.last_result or {}
        if FAILED in last:
            self.board.failed(label(trial.config))
        elif last.get("finished"):
            self.board.finished(label(trial.config), last["fcd_val"])
        elif last:
            self.board.stopped(label(trial.config), last["percent"], last["fcd_val"])
        else:
            self.board.failed(label(trial.config))

    def on_trial_error(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,
        **info: object,
    ) -> None:
        self.board.failed(label(trial.config))


def _tune(
    plan: Plan,
    sweep: Sweep,
    splits: Splits,
    classifier: Classifier,
    folder: Path,
    parallel: int,
    options: LaunchOptions,
) -> tuple[int, list[tuple[str, str]], bool]:
    """Run the trials: how many, the failed ones with their reasons, and whether Ctrl-C cut the
    sweep."""

    def trainable(params: Params, sweep: Sweep, splits: Splits, classifier: Classifier) -> None:
        try:
            run_cell(params, sweep, splits, classifier, tune.report)
        except Exception as error:
            # It would fail again: only what killed the worker is tried again, by Tune.
            reason = f"{type(error).__name__}: {error}"
            tune.report({"fcd_val": math.inf, "percent": 100, FAILED: reason})

    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trainable, sweep=sweep, splits=splits, classifier=classifier),
            {"cpu": options.cpus_per_trial, "gpu": options.gpus_per_trial},
        ),
        tune_config=tune.TuneConfig(
            search_alg=plan.searcher,
            scheduler=_asha() if options.asha else None,
            num_samples=plan.most or -1,
            time_budget_s=plan.seconds,
            max_concurrent_trials=parallel,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{datetime.now(UTC):%Y%m%d-%H%M%S}",
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=options.max_retries),
            callbacks=[_Watch(Board(plan.most))],
        ),
    )
    try:
        grid_of_results = tuner.fit()
    except KeyboardInterrupt:
        return len(plan.grid), [], True
    results = [grid_of_results[number] for number in range(len(grid_of_results))]
    errors = [
        (label(result.config or {}), reason) for result in results if (reason := _reason(result))
    ]
    ended = [
        result
        for result in results
        if _reason(result) or options.asha or (result.metrics or {}).get("finished")
    ]
    return len(results), errors, plan.seconds is None and len(ended) < len(plan.grid)


def _reason(result: Any) -> str | None:
    """Why the trial has failed, if it has: by itself, or with its worker once too often."""
    if result.error:
        return str(result.error).strip().splitlines()[-1]
    return (result.metrics or {}).get(FAILED)


def _asha() -> ASHAScheduler:
    """Of the trials that reach a rung, the best third go on."""
    return ASHAScheduler(
        time_attr="percent",
        metric="fcd_val",
        mode="min",
        max_t=100,
        grace_period=int(100 * sweeping.RUNGS[0]),
        reduction_factor=3,
    )


def _suggest(axes: dict[str, list[Any]], trial: optuna.Trial) -> None:
    for name, values in axes.items():
        trial.suggest_categorical(name, values)
