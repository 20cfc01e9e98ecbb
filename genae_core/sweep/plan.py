"""What a sweep will run, and everything that is prepared before its first trial."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from genae_core.data.base import Splits
from genae_core.experiment.experiment import Experiment
from genae_core.metrics.classifier import Classifier
from genae_core.sweep.cells import Params
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.runs import Sweep
from genae_core.tracking.mlflow_store import Tracker

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

    from genae_core.sweep.study_copy import CopiedSearch, StudyCopy


# The FCD on validation at each recorded step of the first chain, by cell_key and seed.
Curves = Mapping[tuple[str, int], Sequence[float]]


class Plan(NamedTuple):
    """The trials of a sweep.

    Attributes:
        grid: The cells that are known before the sweep begins; for a search, only the first one.
        cells: The experiments of these cells, by cell_key.
        searcher: Makes what proposes the trials to Tune. It imports Tune.
        max_trials: The largest number of trials; None without a limit. A search of which
            everything has run has none left.
        seconds: The seconds after which no trial starts and the running trials end; None without a
            limit.
        scheduler: The scheduler of a search that pauses trials; None uses the one of --asha.
        copy: The study of --optuna-storage, if the trials are also written there.
        curves: The curves of the runs that had finished when the sweep was resumed, if its
            question is about steps.
    """

    grid: list[Params]
    cells: dict[str, Experiment]
    searcher: "Callable[[], CopiedSearch]"
    max_trials: int | None
    seconds: float | None = None
    scheduler: "TrialScheduler | None" = None
    copy: "StudyCopy | None" = None
    curves: Curves = {}


class SweepPlace(NamedTuple):
    """Where a sweep keeps its results.

    Attributes:
        study: The name of the study.
        name: The name of the sweep.
        folder: The sweep's folder.
        tracker: The tracking store.
        auto: Whether --resume auto was given, so that the same command continues the sweep.
    """

    study: str
    name: str
    folder: Path
    tracker: Tracker
    auto: bool = False

    @property
    def again(self) -> str:
        """How to continue the sweep, in words."""
        return "the same command" + ("" if self.auto else f" with --name {self.name} --resume")


class PreparedSweep(NamedTuple):
    """A sweep whose first trial can start; `parallel` is the number of trials at a time."""

    plan: Plan
    place: SweepPlace
    sweep: Sweep
    splits: Splits
    classifier: Classifier
    parallel: int
    options: LaunchOptions


class Outcome(NamedTuple):
    """The outcome of the trials.

    Attributes:
        trials: The number of trials.
        failures: The label of each failed trial, with the reason.
        interrupted: Whether something ended the sweep before all trials had run, so that it can be
            resumed.
        seconds: The seconds that the trials took.
        why: What interrupted the sweep, unless it was a limit that its flags set.
        repeats_failures: Whether a resumed sweep runs the failed trials again. A search does not.
        failed_fast: Whether --fail-fast has stopped the sweep, which is then interrupted too.
    """

    trials: int
    failures: list[tuple[str, str]]
    interrupted: bool
    seconds: float
    why: str | None = None
    repeats_failures: bool = False
    failed_fast: bool = False
