"""Schedulers of trials: ASHA stops the worse trials, and PausingASHA lets them wait."""

import time
from collections.abc import Sequence
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from genae_core.sweep.reports import FAILED, RUNGS


class ASHA(ASHAScheduler):
    """The best third of the trials that reach a rung continue, and the others end."""

    def __init__(self) -> None:
        super().__init__(
            time_attr="percent",
            metric="fcd_val",
            mode="min",
            max_t=100,
            grace_period=int(100 * RUNGS[0]),
            reduction_factor=3,
        )

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Keep the infinite FCD that a failed trial reports out of the rungs."""
        if FAILED in result:
            return str(TrialScheduler.STOP)
        return str(super().on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        if FAILED in result:
            self.on_trial_remove(tune_controller, trial)
        else:
            super().on_trial_complete(tune_controller, trial, result)


class PausingASHA(ASHA):
    """ASHA whose worse trials wait instead of ending (Li et al. 2020, algorithm 2).

    When more trials have reached a rung, a waiting trial may be among the best third of it. It
    then continues from its snapshot.

    Args:
        parallel: The number of trials at a time.
        patience: If only waiting trials have been left for these seconds, they end.
    """

    def __init__(self, parallel: int = 1, patience: float = 2.0) -> None:
        super().__init__()
        self.parallel, self.patience = parallel, patience
        self.idle_since: float | None = None
        self.trials: Sequence[Any] = ()

    def has_room(self) -> bool:
        """Whether another trial may be proposed."""
        return self._running() < self.parallel

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        action = super().on_trial_result(tune_controller, trial, result)
        if action != TrialScheduler.STOP or result["percent"] >= 100:
            return action
        tune_controller.pause_trial(trial, should_checkpoint=False)  # it has its own snapshots
        return str(TrialScheduler.NOOP)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        self.trials = tune_controller.get_trials()
        waiting = [trial for trial in self.trials if trial.status == "PAUSED"]
        if self.has_room():
            for trial in waiting:
                if self.is_promising(trial.trial_id):
                    return trial
        self._end_if_idle(tune_controller, waiting)
        return next((trial for trial in self.trials if trial.status == "PENDING"), None)

    def is_promising(self, trial_id: str) -> bool:
        """Whether a trial is among the best third of the highest rung that it has reached."""
        bracket = self._trial_info[trial_id]
        recorded = next(rung for _, rung in bracket._rungs if trial_id in rung)
        return bool(recorded[trial_id] >= bracket.cutoff(recorded))

    def _running(self) -> int:
        """The number of trials that run or are about to run."""
        return sum(trial.status in ("PENDING", "RUNNING") for trial in self.trials)

    def _end_if_idle(self, tune_controller: Any, waiting: list[Any]) -> None:
        """End the waiting trials if only they have been left for `patience` seconds."""
        now = time.monotonic()
        if self._running() or not waiting:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now
        elif now - self.idle_since > self.patience:
            for trial in waiting:
                tune_controller.stop_trial(trial)
