"""search(): Optuna's TPE proposes the cells, as Ray Tune trials."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from genae_core import config
from genae_core.experiment.experiment import Experiment
from genae_core.sweep import sweep_folder
from genae_core.sweep.cells import EXPERIMENT, Params, cell_key
from genae_core.sweep.conclusion import OnEnd
from genae_core.sweep.driver import run_sweep
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import Plan
from genae_core.sweep.schedulers import PausingASHA
from genae_core.sweep.spent_time import spent_seconds
from genae_core.sweep.study_copy import CopiedSearch

Measurement = tuple[Params, float]  # a cell and its best validation FCD


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The cells from which a search proposes.

    Args:
        first: The cell of the first trial.
        suggest: Suggests the coordinates of one trial to Optuna.
        experiment: Makes a cell's experiment, in the driver's process.
        known: Cells with the validation FCD that an earlier sweep measured. TPE learns from them,
            and the search then does not begin with `first`.
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
    """Search for the cell with the lowest validation FCD at its best step.

    A resumed search learns from its finished trials, continues those that were interrupted, and
    has its full minutes again. Under `--resume auto` all launches share the minutes.

    Args:
        study: The name of the study, which is also the name of the MLflow experiment.
        space: The cells from which trials are proposed.
        options: The flags that say where the search runs and how many trials run at a time.
        minutes: The minutes after which no trial starts and the running trials end.
        trials: The largest number of trials; None sets no limit.
        on_end: Called at the end, as by `launch`.

    Returns:
        The exit code of the process, as `launch` returns it.
    """

    def plan(decided: LaunchOptions) -> Plan:
        auto = options.resume == "auto"
        return _plan(study, space, decided, minutes, trials, auto)

    return run_sweep(study, plan, options, on_end)


def _plan(
    study: str,
    space: SearchSpace,
    options: LaunchOptions,
    minutes: float,
    trials: int | None,
    auto: bool,
) -> Plan:
    """The trials of the search that are still to be run.

    auto: Whether --resume auto was given. All launches then share the minutes, and a search that
        has run everything is only concluded, because a batch system repeats it until it succeeds.
    """
    config.require(
        not options.until_settled,
        "--until-settled compares the cells of a study, and a search has none: leave it out",
        until_settled=options.until_settled,
    )
    config.require_amount(minutes=minutes)
    config.require(minutes > 0, "minutes must be > 0", minutes=minutes)
    if trials is not None:
        config.require_positive_int(trials=trials)
    nothing = sweep_folder.EarlierTrials([], [], 0)
    earlier = sweep_folder.earlier_trials(study, options) if options.resume else nothing
    known = [*space.known, *earlier.measured]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # TPE is multivariate and grouped, because what is good for one family may be bad for
        # another. A resumed search needs another seed, or it would repeat the first proposals.
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
        config.require(
            auto or most > ended,
            "the search has already run all its trials: give larger --trials or --max-trials",
            trials=ended,
        )
        most = max(0, most - ended)
    seconds = 60 * minutes
    if auto and options.resume and options.name is not None:
        seconds -= spent_seconds(sweep_folder.folder_of(options.name, options))
        most = 0 if seconds <= 0 else most
    cells = {cell_key(space.first): space.experiment(space.first)}
    return Plan([space.first], cells, lambda: searcher, most, seconds, searcher.scheduler)


class _CellSearcher(CopiedSearch):
    """Adds the experiment to each trial's params, so that workers need no code of the study."""

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
            fixed = optuna.trial.FixedTrial(params)
            self.suggest_coordinates(fixed)
            trial = optuna.trial.create_trial(
                params=params, distributions=fixed.distributions, value=value
            )
            study.add_trial(trial)

    def suggest(self, trial_id: str) -> Any:
        if self.scheduler is not None and not self.scheduler.has_room():
            return None  # Tune asks again when a trial has ended or waits
        params = super().suggest(trial_id)
        if not isinstance(params, dict):
            return params
        return {**params, EXPERIMENT: config.to_json(self.experiment(params))}
