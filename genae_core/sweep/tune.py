"""The trials of a sweep under Ray Tune, from the first start to the last result."""

import math
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # MLflow holds the results
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the board prints instead

from ray import tune
from ray.tune.execution import class_cache

from genae_core.data.base import Splits
from genae_core.metrics.classifier import Classifier
from genae_core.report.decision import read_decision
from genae_core.sweep import ray_cluster, sweep_folder
from genae_core.sweep.cells import Params, cell_label
from genae_core.sweep.fail_fast import FailFast
from genae_core.sweep.live import open_board
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import Outcome, Plan, PreparedSweep
from genae_core.sweep.progress import Board, read_progress
from genae_core.sweep.prometheus import Reminder, observe
from genae_core.sweep.reports import FAILED
from genae_core.sweep.runs import Sweep
from genae_core.sweep.schedulers import ASHA, PausingASHA
from genae_core.sweep.spent_time import SpentTime
from genae_core.sweep.worker import PROGRESS, STEP_SECONDS, run_cell
from genae_core.training.snapshot_folder import Preempted, request_stop

# Tune's states of a trial, in words for people.
STATES = {"RUNNING": "running", "PAUSED": "paused", "TERMINATED": "ended", "ERROR": "failed"}
# What errors of PyTorch, its libraries and the system say if there is no memory left.
OUT_OF_MEMORY = (
    "OutOfMemory",
    "allocate memory",
    "bad_alloc",
    "start new thread",
    "could not create a memory",
)
DIED = "its worker died more than --max-retries times"
NOTES = "notes"  # the key under which a trial reports its warnings


def run_trials(prepared: PreparedSweep) -> Outcome:
    """Run the trials until all have ended, or until the sweep is interrupted."""
    began = time.monotonic()
    plan, folder = prepared.plan, prepared.place.folder
    if plan.max_trials == 0:
        return Outcome(0, [], False, 0.0)
    fail_fast = FailFast(prepared.options.fail_fast)
    trainable = tune.with_parameters(
        _trainable(),
        sweep=prepared.sweep,
        splits=prepared.splits,
        classifier=prepared.classifier,
    )
    before = signal.getsignal(signal.SIGINT)
    try:
        with open_board(plan.max_trials, lambda: read_progress(folder / PROGRESS)) as board:
            dataset = prepared.sweep.tags["dataset"]
            spent = SpentTime(folder) if plan.seconds is not None else None
            callback = BoardCallback(board, dataset, folder, fail_fast, spent)
            tuner = make_tuner(
                plan, trainable, folder, prepared.parallel, prepared.options, callback
            )
            results_grid = tuner.fit()
        if spent is not None:
            spent.tick(at_once=True)
        # At the first Ctrl-C, Tune removes its own handler. Without one, its handler stays.
        interrupted = signal.getsignal(signal.SIGINT) is before
    except KeyboardInterrupt:
        return Outcome(len(plan.grid), [], True, time.monotonic() - began)
    finally:
        signal.signal(signal.SIGINT, before)
        shutil.rmtree(folder / PROGRESS, ignore_errors=True)
    results = [results_grid[number] for number in range(len(results_grid))]
    failures = [
        (cell_label(result.config or {}), reason)
        for result in results
        if (reason := _failure_of(result))
    ]
    cut = plan.seconds is None and not _is_over(prepared, board.ended)  # by --max-hours
    failed_fast = fail_fast.stop_all()
    return Outcome(
        trials=len(results),
        failures=failures,
        interrupted=interrupted or cut or failed_fast,
        seconds=time.monotonic() - began,
        why=str(fail_fast) if failed_fast else None,
        repeats_failures=plan.seconds is None,
        failed_fast=failed_fast,
    )


def _is_over(prepared: PreparedSweep, ended: int) -> bool:
    """Whether all trials of a study have ended."""
    if not prepared.options.until_settled:
        return ended >= len(prepared.plan.grid)
    decision = read_decision(prepared.place.folder)
    return ended == prepared.plan.max_trials or (decision is not None and decision.over)


def _last_line(error: object) -> str:
    return (str(error).strip().splitlines() or [""])[-1]


def _trainable() -> Any:
    """The function that Tune calls in a worker for each trial."""

    def trainable(params: Params, sweep: Sweep, splits: Splits, classifier: Classifier) -> None:
        notes: list[str] = []

        def report(values: dict[str, Any]) -> None:
            tune.report({**values, NOTES: "\n".join(notes)})

        try:
            run_cell(params, sweep, splits, classifier, report, notes.append)
        except Preempted:
            os._exit(143)  # Tune sees the worker die, and starts the trial again on another node
        except Exception as error:
            # A trial that raises an error would raise it again, so it ends here with the reason.
            # Tune repeats a trial only if its worker died.
            report({"fcd_val": math.inf, "percent": 100, FAILED: _describe(error)})

    trainable.__mixins__ = (_Preemptible,)  # type: ignore[attr-defined]  # Tune's own hook
    return trainable


class _Preemptible:
    """Tune mixes this class into the actor that runs a trial, to handle SIGTERM.

    Tune calls `setup` in the actor's main thread, which is the only one that may install a signal
    handler.
    """

    def setup(self, config: Params) -> None:
        signal.signal(signal.SIGTERM, request_stop)
        super().setup(config)  # type: ignore[misc]


def make_tuner(
    plan: Plan,
    trainable: Any,
    folder: Path,
    parallel: int,
    options: LaunchOptions,
    callback: "BoardCallback | None",
) -> tune.Tuner:
    """A Tuner with the settings that all sweeps have, which its callback observes and may stop.

    A worker runs one trial after another. As many trials wait for a node as run at a time, so that
    a growing cluster adds all its nodes at once.
    """
    if ray_cluster.is_own():
        # Its workers have the variables of this process. For others Ray would start other workers.
        class_cache.DEFAULT_ENV_VARS = {}
        class_cache.ENV_VARS_TO_PROPAGATE = set()
    searcher = plan.searcher()
    searcher.copy, searcher.folder, searcher.curves = plan.copy, folder, plan.curves
    if isinstance(plan.scheduler, PausingASHA):
        plan.scheduler.parallel = parallel
    hours = options.max_hours
    seconds = [limit for limit in (plan.seconds, hours and 3600 * hours) if limit]
    return tune.Tuner(
        tune.with_resources(trainable, _reserve(options)),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=plan.scheduler or (ASHA() if options.asha else None),
            num_samples=plan.max_trials or -1,
            time_budget_s=min(seconds, default=None),
            # Tune's own limit would count trials that wait. The limit of PausingASHA does not.
            max_concurrent_trials=None if plan.scheduler else parallel,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{datetime.now(UTC):%Y%m%d-%H%M%S}",
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=options.max_retries),
            callbacks=[callback] if callback else [],
            stop=callback.fail_fast if callback else None,
        ),
    )


def _reserve(options: LaunchOptions) -> dict[str, float] | tune.PlacementGroupFactory:
    """What Tune reserves for a trial. If it has several processes, each has its part, and all of
    them are on one node."""
    total, count = options.trial_resources, options.processes
    if count == 1:
        return total
    part = {"CPU": total.pop("cpu") / count, "GPU": total.pop("gpu") / count}
    return tune.PlacementGroupFactory([part | total, *[part] * (count - 1)], "STRICT_PACK")


class BoardCallback(tune.Callback):
    """Passes Tune's events on to the board, to --fail-fast and to Prometheus."""

    def __init__(
        self,
        board: Board,
        dataset: str,
        folder: Path,
        fail_fast: FailFast | None = None,
        spent: SpentTime | None = None,
    ) -> None:
        self.board, self.dataset, self.folder = board, dataset, folder
        self.fail_fast, self.spent = fail_fast or FailFast(None), spent
        self.best: dict[str, float] = {}  # FCD by family
        self.counts: Mapping[str, int] = {}  # trials by state, as last observed
        self.paused: set[str] = set()
        self.reminder = Reminder()

    def __getstate__(self) -> dict[str, Any]:
        """Return no state: Tune writes its callbacks to disk, and a terminal cannot be written."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: object) -> None:
        paused = {trial.trial_id for trial in trials if trial.status == "PAUSED"}
        for trial in trials:
            if trial.trial_id in paused - self.paused:
                last = trial.last_result
                self.board.on_pause(cell_label(trial.config), last["percent"], last["fcd_val"])
        self.paused = paused
        self.board.tick()
        if self.spent is not None:
            self.spent.tick()
        self._count(trials)
        self.reminder.tick()

    def on_trial_start(
        self, iteration: int, trials: list[Any], trial: Any, **info: object
    ) -> None:
        self.board.on_start(cell_label(trial.config))

    def on_trial_complete(
        self, iteration: int, trials: list[Any], trial: Any, **info: object
    ) -> None:
        last, name = trial.last_result or {}, cell_label(trial.config)
        if last.get(NOTES):
            self.board.warn(name, last[NOTES])
        if FAILED in last or not last:
            self.board.on_failure(name)
            if FAILED in last:
                self.fail_fast.note_failure(last[FAILED])
        elif last.get("finished"):
            self.board.on_finish(name, last["fcd_val"])
            if last[STEP_SECONDS]:  # otherwise it had finished before the sweep was resumed
                self.fail_fast.note_finish()
            self._observe_end(last)
        else:
            self.board.on_stop(name, last["percent"], last["fcd_val"])
            if not self.fail_fast.stop_all():
                sweep_folder.note_stopped(self.folder, trial.config)

    def on_trial_error(
        self, iteration: int, trials: list[Any], trial: Any, **info: object
    ) -> None:
        self.board.on_failure(cell_label(trial.config))
        self.fail_fast.note_failure(f"{DIED}: {_last_line(trial.get_error())}")

    def _observe_end(self, last: dict[str, Any]) -> None:
        """Observe the last report of a finished trial."""
        family = last["family"]
        self.best[family] = min(last["fcd_val"], self.best.get(family, math.inf))
        for seconds in last[STEP_SECONDS]:
            observe("genae_chain_step_seconds", seconds, family=family)
        observe("genae_best_fcd", self.best[family], family=family, dataset=self.dataset)

    def _count(self, trials: list[Any]) -> None:
        """Observe the number of trials in each state, if it has changed."""
        counts = Counter(dict.fromkeys(("waiting", *STATES.values()), 0))
        for trial in trials:
            failed = FAILED in (trial.last_result or {})
            counts["failed" if failed else STATES.get(trial.status, "waiting")] += 1
        for state, number in counts.items():
            if self.counts.get(state) != number:
                observe("genae_trials", number, state=state)
        self.counts = counts


def _describe(error: Exception) -> str:
    """The failure in words, with advice if the trial ran out of memory."""
    reason = f"{type(error).__name__}: {error}"
    oom = isinstance(error, MemoryError) or any(words in reason for words in OUT_OF_MEMORY)
    hint = "give it more with --memory-per-trial or --gpus-per-trial, or make the model smaller"
    return f"out of memory ({hint}): {reason}" if oom else reason


def _failure_of(result: Any) -> str | None:
    """Why the trial has failed: an error, or a worker that died too often. None if it has not."""
    if result.error:
        oom = "out of memory: " if "OutOfMemory" in type(result.error).__name__ else ""
        return f"{oom}{DIED}; the last error: {_last_line(result.error)}"
    return (result.metrics or {}).get(FAILED)
