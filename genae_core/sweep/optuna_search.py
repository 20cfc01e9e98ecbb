"""TODO"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from ray.tune.search.optuna import OptunaSearch

from genae_core import config
from genae_core.experiment.experiment import Experiment
from genae_core.sweep import sweep_folder
from genae_core.sweep.launcher import OnEnd, _launch
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.runs import EXPERIMENT, Params, cell_key
from genae_core.sweep.schedulers import PausingASHA
from genae_core.sweep.tune import Plan


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
    sweep has measured them; TPE learns from them, and then nothing is tried first. A search that
    is resumed learns from its finished trials, takes up those that were cut off, and has its
    minutes again.
    """

    def plan() -> Plan:
        config.require_finite(0, minutes=minutes)
        config.require(minutes > 0, "minutes must be > 0", minutes=minutes)
        if trials is not None:
            config.require_positive_int(trials=trials)
        nothing = sweep_folder.Searched([], [], 0)
        done, begun, over = sweep_folder.searched(study, options) if options.resume else nothing
        learnt = [*known, *done]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # Jointly: what is good for one family need not be for another.
            # Another seed on a resume, or it would begin with the same proposals.
            sampler = optuna.samplers.TPESampler(seed=len(done), multivariate=True, group=True)
        searcher = _Search(
            space,
            experiment,
            metric="fcd_val",
            mode="min",
            points_to_evaluate=begun or (None if learnt else [first]),
            sampler=sampler,
            known=learnt,
        )
        cells = {cell_key(first): experiment(first)}
        searcher.scheduler = PausingASHA() if options.asha else None
        most = min((n for n in (trials, options.max_trials) if n), default=None)
        if most is not None:
            had = len(done) + over
            config.require(most > had, "the search has had its trials", trials=had)
            most -= had
        return Plan([first], cells, searcher, most, 60 * minutes, searcher.scheduler)

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
        self.scheduler: PausingASHA | None = None

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
        if self.scheduler is not None and not self.scheduler.has_room():
            return None  # later, when a trial has ended or waits
        params = super().suggest(trial_id)
        if not isinstance(params, dict):
            return params
        return {**params, EXPERIMENT: config.to_json(self.experiment(params))}
