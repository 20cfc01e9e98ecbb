"""search(): Optuna's TPE proposes the cells, as Ray Tune trials."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from ray.tune.search.optuna import OptunaSearch

from genae_core import config
from genae_core.experiment.experiment import Experiment
from genae_core.sweep import sweep_folder
from genae_core.sweep.cells import EXPERIMENT, Params, cell_key
from genae_core.sweep.driver import OnEnd, run_sweep
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import Plan
from genae_core.sweep.schedulers import PausingASHA

Measurement = tuple[Params, float]  # a cell and its best validation FCD


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """What a search looks through.

    Args:
        first: The cell that is tried first.
        suggest: Suggests the coordinates of one trial to Optuna.
        experiment: Makes a cell's experiment, in the driver's process.
        known: Cells and their validation FCD, as an earlier sweep has measured them. TPE learns
            from them, and then `first` is not tried first.
    """

    first: Params
    suggest: Callable[[optuna.trial.BaseTrial], None]
    experiment: Callable[[Params], Experiment]
    known: Sequence[Measurement] = ()


def search(
    study: str,
    space: SearchSpace,
    options: LaunchOptions,
    minutes: float,
    trials: int | None = None,
    on_end: OnEnd = lambda *_: None,
) -> int:
    """Look for the cell with the lowest validation FCD at its best step.

    A search that is resumed learns from its finished trials, takes up those that were cut off, and
    has its minutes again.

    Args:
        study: Names the MLflow experiment.
        space: What is searched.
        options: Where and how wide the search runs.
        minutes: After which no trial is started and the running ones end.
        trials: Their largest number; None sets no limit.
        on_end: See `launch`.

    Returns:
        The exit code of the process, as `launch`.
    """
    return run_sweep(study, lambda: _plan(study, space, options, minutes, trials), options, on_end)


def _plan(
    study: str, space: SearchSpace, options: LaunchOptions, minutes: float, trials: int | None
) -> Plan:
    config.require_finite(0, minutes=minutes)
    config.require(minutes > 0, "minutes must be > 0", minutes=minutes)
    if trials is not None:
        config.require_positive_int(trials=trials)
    nothing = sweep_folder.EarlierTrials([], [], 0)
    earlier = sweep_folder.earlier_trials(study, options) if options.resume else nothing
    known = [*space.known, *earlier.measured]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Multivariate and grouped: what is good for one family need not be for another. A resume
        # takes another seed, or it would begin with the same proposals.
        sampler = optuna.samplers.TPESampler(
            seed=len(earlier.measured), multivariate=True, group=True
        )
    searcher = _CellSearcher(
        space.suggest,
        space.experiment,
        metric="fcd_val",
        mode="min",
        points_to_evaluate=earlier.cut_off or (None if known else [space.first]),
        sampler=sampler,
        known=known,
    )
    searcher.scheduler = PausingASHA() if options.asha else None
    most = min((n for n in (trials, options.max_trials) if n), default=None)
    if most is not None:
        ended = len(earlier.measured) + earlier.failed_or_stopped
        config.require(most > ended, "the search has had its trials", trials=ended)
        most -= ended
    cells = {cell_key(space.first): space.experiment(space.first)}
    return Plan([space.first], cells, searcher, most, 60 * minutes, searcher.scheduler)


class _CellSearcher(OptunaSearch):
    """Hands each trial its experiment, so that a worker needs none of the study's code."""

    def __init__(
        self,
        suggest: Callable[[optuna.trial.BaseTrial], None],
        experiment: Callable[[Params], Experiment],
        known: Sequence[Measurement],
        **settings: Any,
    ) -> None:
        # The base class calls `_setup_study` while it is constructed.
        self.known, self.suggest_coordinates = known, suggest
        super().__init__(suggest, **settings)
        self.experiment = experiment
        self.scheduler: PausingASHA | None = None

    def _setup_study(self, mode: Any) -> None:
        super()._setup_study(mode)
        study: Any = self._ot_study
        for params, value in self.known:
            asked = optuna.trial.FixedTrial(params)
            self.suggest_coordinates(asked)
            trial = optuna.trial.create_trial(
                params=params, distributions=asked.distributions, value=value
            )
            study.add_trial(trial)

    def suggest(self, trial_id: str) -> Any:
        if self.scheduler is not None and not self.scheduler.has_room():
            return None  # Tune asks again when a trial has ended or waits
        params = super().suggest(trial_id)
        if not isinstance(params, dict):
            return params
        return {**params, EXPERIMENT: config.to_json(self.experiment(params))}
