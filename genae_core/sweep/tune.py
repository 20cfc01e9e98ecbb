"""Trials under Ray Tune: started, paused, stopped, tried again, and what they told."""

import math
import os
import shutil
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # MLflow holds the results
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the board speaks instead

from ray import tune
from ray.tune.search import Searcher

from genae_core.data.base import Splits
from genae_core.experiment.experiment import Experiment
from genae_core.metrics.classifier import Classifier
from genae_core.sweep import sweep_folder
from genae_core.sweep.live import board
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.progress import Board, noted_shares
from genae_core.sweep.prometheus import Reminder, tell
from genae_core.sweep.runs import Params, Sweep, label
from genae_core.sweep.schedulers import ASHA, FAILED, PausingASHA
from genae_core.sweep.worker import SHARES, STEP_SECONDS, run_cell
from genae_core.training.snapshot_folder import Preempted, leave_soon

# Tune's, for people.
STATES = {"RUNNING": "running", "PAUSED": "paused", "TERMINATED": "ended", "ERROR": "failed"}
NOTES = "notes"  # the key under which it reports what people should know


class Plan(NamedTuple):
    """The trials of a sweep. cells: by cell_key, of a search the first alone. searcher: proposes
    them. most: how many, None without a limit. seconds: after which no more are started and the
    running ones end; None without a limit. scheduler: of a search that pauses trials, instead of
    the one that --asha names."""

    grid: list[Params]
    cells: dict[str, Experiment]
    searcher: Searcher
    most: int | None
    seconds: float | None = None
    scheduler: "PausingASHA | None" = None


class _Watch(tune.Callback):
    """Tune's events to the board and the meters."""

    def __init__(self, board: Board, dataset: str, folder: Path) -> None:
        self.board, self.dataset, self.folder = board, dataset, folder
        self.best: dict[str, float] = {}
        self.told: Mapping[str, int] = {}
        self.paused: set[str] = set()
        self.reminder = Reminder()

    def __getstate__(self) -> dict[str, Any]:
        """Tune writes its callbacks to disk, to go on with them; a terminal cannot be written."""
        return {}

    def _count(self, trials: list[Any]) -> None:
        states = Counter(dict.fromkeys(("waiting", *STATES.values()), 0))
        for trial in trials:
            failed = FAILED in (trial.last_result or {})
            states["failed" if failed else STATES.get(trial.status, "waiting")] += 1
        for state, number in states.items():
            if self.told.get(state) != number:
                tell("genae_trials", number, state=state)
        self.told = states

    def on_step_end(self, iteration: int, trials: list[Any], **info: object) -> None:
        paused = {trial.trial_id for trial in trials if trial.status == "PAUSED"}
        for trial in trials:
            if trial.trial_id in paused - self.paused:
                last = trial.last_result
                self.board.paused(label(trial.config), last["percent"], last["fcd_val"])
        self.paused = paused
        self.board.tick()
        self._count(trials)
        self.reminder.tick()

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
        if last.get(NOTES):
            self.board.warn(label(trial.config), last[NOTES])
        if FAILED in last:
            self.board.failed(label(trial.config))
        elif last.get("finished"):
            self.board.finished(label(trial.config), last["fcd_val"])
            family = last["family"]
            self.best[family] = min(last["fcd_val"], self.best.get(family, math.inf))
            for seconds in last[STEP_SECONDS]:
                tell("genae_chain_step_seconds", seconds, family=family)
            tell("genae_best_fcd", self.best[family], family=family, dataset=self.dataset)
        elif last:
            self.board.stopped(label(trial.config), last["percent"], last["fcd_val"])
            sweep_folder.note_stopped(self.folder, trial.config)
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


def run_trials(
    plan: Plan,
    sweep: Sweep,
    splits: Splits,
    classifier: Classifier,
    folder: Path,
    parallel: int,
    options: LaunchOptions,
) -> tuple[int, list[tuple[str, str]], bool]:
    """Run the trials: how many, the failed ones with their reasons, and whether the sweep was
    cut off, by Ctrl-C or --max-hours."""

    def trainable(params: Params, sweep: Sweep, splits: Splits, classifier: Classifier) -> None:
        notes: list[str] = []

        def report(values: dict[str, Any]) -> None:
            tune.report({**values, NOTES: "\n".join(notes)})

        try:
            run_cell(params, sweep, splits, classifier, report, notes.append)
        except Preempted:
            os._exit(143)  # Tune sees its worker die, and starts it again elsewhere
        except Exception as error:
            # It would fail again: only what killed the worker is tried again, by Tune.
            report({"fcd_val": math.inf, "percent": 100, FAILED: _said(error)})

    trainable.__mixins__ = (_Preemptible,)  # type: ignore[attr-defined]  # Tune's own hook

    told = tune.with_parameters(trainable, sweep=sweep, splits=splits, classifier=classifier)
    # What a cluster sends to end a job: as Ctrl-C, so that the sweep can be resumed.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    try:
        with board(plan.most, lambda: noted_shares(folder / SHARES)) as seen:
            watch = _Watch(seen, sweep.tags["dataset"], folder)
            grid_of_results = tuner(plan, told, folder, parallel, options, [watch]).fit()
        # Tune takes its own handler off at the first Ctrl-C, and leaves it on where none came.
        interrupted = signal.getsignal(signal.SIGINT) is before
    except KeyboardInterrupt:
        return len(plan.grid), [], True
    finally:
        signal.signal(signal.SIGINT, before)
        shutil.rmtree(folder / SHARES, ignore_errors=True)
    results = [grid_of_results[number] for number in range(len(grid_of_results))]
    errors = [
        (label(result.config or {}), reason) for result in results if (reason := _reason(result))
    ]
    cut = plan.seconds is None and seen.ended < len(plan.grid)  # by --max-hours
    return len(results), errors, interrupted or cut


def tuner(
    plan: Plan,
    trainable: Any,
    folder: Path,
    parallel: int,
    options: LaunchOptions,
    callbacks: Sequence[tune.Callback],
) -> tune.Tuner:
    """Tune, set as every sweep runs it.

    Workers live on from trial to trial, and as many trials wait for a node as run at a time, so
    that a growing cluster grows at once.
    """
    if plan.scheduler is not None:
        plan.scheduler.parallel = parallel
    hours = options.max_hours
    seconds = [limit for limit in (plan.seconds, hours and 3600 * hours) if limit]
    return tune.Tuner(
        tune.with_resources(trainable, options.trial_resources),
        tune_config=tune.TuneConfig(
            search_alg=plan.searcher,
            scheduler=plan.scheduler or (ASHA() if options.asha else None),
            num_samples=plan.most or -1,
            time_budget_s=min(seconds, default=None),
            # Tune's own limit would count trials that wait: PausingASHA has one that does not.
            max_concurrent_trials=None if plan.scheduler else parallel,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{datetime.now(UTC):%Y%m%d-%H%M%S}",
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=options.max_retries),
            callbacks=list(callbacks),
        ),
    )


class _Preemptible:
    """Of the actor that a trial runs in, whose main thread this is called in."""

    def setup(self, config: Params) -> None:
        signal.signal(signal.SIGTERM, leave_soon)
        super().setup(config)  # type: ignore[misc]


def _said(error: Exception) -> str:
    """The failure in words; of a lack of memory also what to do."""
    reason = f"{type(error).__name__}: {error}"
    lack = isinstance(error, MemoryError) or "OutOfMemory" in reason or "allocate memory" in reason
    hint = "give it more with --memory-per-trial or --gpus-per-trial, or make the model smaller"
    return f"out of memory ({hint}): {reason}" if lack else reason


def _reason(result: Any) -> str | None:
    """Why the trial has failed, if it has: by itself, or with its worker once too often."""
    if result.error:
        lines = str(result.error).strip().splitlines()
        oom = "out of memory: " if "OutOfMemory" in type(result.error).__name__ else ""
        return f"{oom}its worker died more than --max-retries times; at last: {lines[-1]}"
    return (result.metrics or {}).get(FAILED)
