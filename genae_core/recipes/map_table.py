"""Every family of the papers on one dataset, in one table and one picture, for paper_tables.py."""

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genae_core.distributions.rng import Draw
from genae_core.evaluation.image_grids import Picture, grid
from genae_core.experiment.experiment import Experiment
from genae_core.models.base import GenerativeModel
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.families import FAMILIES
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.pictures import model_of, prior_samples
from genae_core.recipes.study import image_space_experiment
from genae_core.recipes.swept_table import SweptTable
from genae_core.report.plots import MapPoint, draw_map
from genae_core.report.steps import BEST, best_step
from genae_core.report.tables import align_columns, closing_lines, group_seeds, mean_and_sd
from genae_core.samplers.config import ChainConfig
from genae_core.tracking.mlflow_store import StoredRun, Tracker

LATENT_DIM = 16
COLLAPSED = 0.05  # a seed with a smaller recall has lost most of the data
DRAWN = 16  # samples of each family in the picture, in rows of COLUMNS
COLUMNS = 4


@dataclass(frozen=True, kw_only=True)
class MapRow:
    """A family on the map; each list has one value for each seed.

    Args:
        family: The family's name in the literature.
        name: Its name in FAMILIES.
        fcd: The FCD of draws from the prior.
        best: The FCD at the step of the chain that validation chose; None without a chain.
        best_step: The median of these steps; None without a chain.
        recall: The recall of the draws.
        best_recall: The recall at the chosen step; None without a chain.
        parzen: The Parzen log-likelihood of the draws in nats.
        seconds: The seconds of the training.
        failed: The number of seeds whose trial failed.
    """

    family: str
    name: str
    fcd: list[float]
    best: list[float] | None
    best_step: float | None
    recall: list[float]
    best_recall: list[float] | None
    parzen: list[float]
    seconds: list[float]
    failed: int

    @property
    def collapsed(self) -> int:
        """The number of seeds that have lost most of the data."""
        return sum(value < COLLAPSED for value in self.recall)


def map_table(study: StudyOptions) -> SweptTable:
    """The table of a study, and the map, which is drawn if there is a row."""
    chain = dataset_recipe(study).chain()

    def experiment(params: Mapping[str, Any]) -> Experiment:
        return map_experiment(study, params["family"], chain)

    def show(tracker: Tracker, sweep: str, folder: Path) -> list[MapRow]:
        runs = tracker.read_runs(sweep, ("recall", "parzen"))
        rows = map_rows(runs)
        print_map(rows, runs)
        if rows:
            print(f"map:    {draw_family_map(tracker, rows, runs, folder)}")
        return rows

    return SweptTable({"family": tuple(FAMILIES)}, experiment, show)


def map_experiment(study: StudyOptions, family: str, chain: ChainConfig) -> Experiment:
    """The experiment of a family.

    Args:
        study: The study's flags.
        family: The family's name in FAMILIES.
        chain: The chain of the families that have one.
    """
    return image_space_experiment(study, family, LATENT_DIM, (chain,))


def map_rows(runs: Sequence[StoredRun]) -> list[MapRow]:
    """The rows of the families that have a finished run, the lowest FCD of draws first.

    Args:
        runs: The runs of the sweep, also those that failed.
    """
    finished = {run.tags["key"] for run in runs if run.status == "FINISHED"}
    failed = Counter(
        json.loads(run.tags["cell"])["family"]
        for run in runs
        if run.status == "FAILED" and run.tags["key"] not in finished
    )
    rows = []
    for group, members in group_seeds(runs).items():
        name = json.loads(members[0].tags["cell"])["family"]
        steps = [int(run.scalars[BEST]) for run in members]
        recall = [run.chain["recall"] for run in members]
        has_chain = FAMILIES[name].encoder
        rows.append(
            MapRow(
                family=group.family,
                name=name,
                fcd=[run.scalars["fcd_step0"] for run in members],
                best=[run.scalars["fcd_best"] for run in members] if has_chain else None,
                best_step=best_step(members) if has_chain else None,
                recall=[curve[0] for curve in recall],
                best_recall=[curve[step] for curve, step in zip(recall, steps, strict=True)]
                if has_chain
                else None,
                parzen=[run.chain["parzen"][0] for run in members],
                seconds=[run.scalars["training_seconds"] for run in members],
                failed=failed[name],
            )
        )
    return sorted(rows, key=lambda row: statistics.mean(row.fcd))


def print_map(rows: Sequence[MapRow], runs: Sequence[StoredRun]) -> None:
    """Print the table, and below it what the classifier can measure."""
    head = ["family", "seeds", "FCD step 0", "best", "best step", "recall", "Parzen"]
    table = [[*head, "training s", "collapsed", "failed"]]
    for row in rows:
        table.append(
            [
                row.family,
                str(len(row.fcd)),
                mean_and_sd(row.fcd),
                "n/a" if row.best is None else mean_and_sd(row.best),
                "n/a" if row.best_step is None else f"{row.best_step:g}",
                mean_and_sd(row.recall),
                mean_and_sd(row.parzen),
                f"{statistics.mean(row.seconds):.0f}",
                str(row.collapsed),
                str(row.failed),
            ]
        )
    print(f"\n{align_columns(table)}")
    print(f"collapsed: seeds with a recall below {COLLAPSED:g}; failed: seeds without a result")
    for line in closing_lines(run for run in runs if run.status == "FINISHED"):
        print(line)


def draw_family_map(
    tracker: Tracker, rows: Sequence[MapRow], runs: Sequence[StoredRun], folder: Path
) -> Path:
    """Draw the FCD against the recall of all families, and samples of each below.

    Args:
        tracker: The store of the sweep; the first run gets the picture as an artifact.
        rows: The rows of the table, at least one.
        runs: The runs of the sweep.
        folder: The folder of the sweep. The picture is in its folder figures.

    Returns:
        The PNG file.
    """
    first: dict[str, StoredRun] = {}
    for run in sorted(runs, key=lambda run: int(run.tags.get("seed", 0))):
        if run.status == "FINISHED":
            first.setdefault(run.tags["family"], run)
    points = [
        MapPoint(
            name=row.family,
            fcd=statistics.mean(row.fcd),
            recall=statistics.mean(row.recall),
            chain=None
            if row.best is None or row.best_recall is None
            else (statistics.mean(row.best), statistics.mean(row.best_recall)),
            in_image_space=FAMILIES[row.name].in_image_space,
            samples=draw_samples(model_of(tracker, first[row.family])),
        )
        for row in rows
    ]
    path = folder / "figures" / "map.png"
    path.parent.mkdir(exist_ok=True)
    draw_map(points, path)
    tracker.log_files(first[rows[0].family].run_id, path, "figures")
    return path


def draw_samples(model: GenerativeModel) -> Picture:
    """Draws from the prior of a trained model, decoded."""
    return grid(prior_samples(model, Draw(0, "map"), DRAWN), COLUMNS)
