"""What a sweep is going to run, and everything that is prepared for it before its first trial."""

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
    from ray.tune.search import Searcher


class Plan(NamedTuple):
    """The trials of a sweep.

    grid: the cells that are known beforehand; of a search, the first. cells: their experiments by
    cell_key. searcher: proposes the trials to Tune. max_trials: None without a limit. seconds:
    after which no trial is started and the running ones end; None without a limit. scheduler: of a
    search that pauses trials, in place of the one that --asha names.
    """

    grid: list[Params]
    cells: dict[str, Experiment]
    searcher: "Searcher"
    max_trials: int | None
    seconds: float | None = None
    scheduler: "TrialScheduler | None" = None


class SweepPlace(NamedTuple):
    """Where a sweep keeps its results: its study and name, its folder, and the tracking store."""

    study: str
    name: str
    folder: Path
    tracker: Tracker


class PreparedSweep(NamedTuple):
    """A sweep whose first trial can start. parallel: the number of trials at a time."""

    plan: Plan
    place: SweepPlace
    sweep: Sweep
    splits: Splits
    classifier: Classifier
    parallel: int
    options: LaunchOptions


class Outcome(NamedTuple):
    """What became of the trials.

    trials: how many there were. failures: the labels of the failed ones, each with the reason.
    interrupted: whether the sweep was cut off, by Ctrl-C or --max-hours, and can be resumed.
    seconds: that the trials took.
    """

    trials: int
    failures: list[tuple[str, str]]
    interrupted: bool
    seconds: float
