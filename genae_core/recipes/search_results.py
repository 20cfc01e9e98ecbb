"""What search.py reads from the store: its best run, and the runs of a study to compare with."""

import json
import tempfile
from pathlib import Path
from typing import Any, Literal

from genae_core import config
from genae_core.config import require
from genae_core.config.home import default_store
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.families import LATENT_DIMS
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.search_space import usual_cell
from genae_core.sweep.cells import coordinates
from genae_core.tracking.mlflow_store import StoredRun, Tracker
from genae_core.tracking.moved_home import artifacts_folder
from genae_core.tracking.store_uri import resolve_uri


def best_run(curves: list[StoredRun], sweep: str) -> StoredRun:
    """The finished run with the lowest validation FCD at its best step.

    Args:
        curves: The runs of the sweep.
        sweep: The sweep's name, for the message.

    Raises:
        ValueError: No run has finished.
    """
    finished = [run for run in curves if run.status == "FINISHED"]
    require(bool(finished), "no finished run in the sweep", sweep=sweep)
    return min(finished, key=lambda run: run.scalars["fcd_val_best"])


def stored_experiment(tracker: Tracker, run: StoredRun) -> Experiment:
    """The experiment of a run, from its artifacts."""
    with tempfile.TemporaryDirectory() as scratch:
        text = tracker.fetch(run.run_id, "experiment.json", Path(scratch)).read_text()
    stored: Experiment = config.from_json(text)
    return stored


def describe_cell(run: StoredRun) -> str:
    """The coordinates of a run's cell in words."""
    cell = coordinates(json.loads(run.tags["cell"]))
    return ", ".join(f"{name} {value}" for name, value in sorted(cell.items()))


def study_store(tracking_uri: str) -> Tracker:
    """The store of the runs of model_family.py."""
    return Tracker.create(tracking_uri, "model_family", artifacts_folder())


def classifier_of(options: StudyOptions, sweep: str) -> Literal["shipped", "train"]:
    """The kind of classifier that has measured a sweep, with whose FCDs a search compares its own.

    Args:
        options: The search's flags.
        sweep: The name of the sweep.

    Raises:
        ValueError: The flags name the other kind.
    """
    uri = resolve_uri(options.tracking_uri or default_store())
    runs = study_store(uri).read_runs(sweep)
    shipped = any(run.params.get("classifier.weights") for run in runs)
    kind: Literal["shipped", "train"] = "shipped" if shipped else "train"
    require(
        options.classifier in (None, kind),
        f"--against: the sweep {sweep} was measured with --classifier {kind}, and the search "
        "learns from its FCDs",
        classifier=options.classifier,
    )
    return kind


def known_cells(options: StudyOptions, sweep: str) -> list[tuple[dict[str, Any], float]]:
    """The cells of a sweep of model_family.py that the search could propose.

    Args:
        options: The search's flags.
        sweep: The name of the sweep.

    Returns:
        The coordinates of each cell with the validation FCD of its run.

    Raises:
        ValueError: The sweep has no finished run, or is on another dataset.
    """
    uri = resolve_uri(options.tracking_uri or default_store())
    curves = study_store(uri).read_runs(sweep)
    dataset = dataset_recipe(options).data.name
    other = best_run(curves, sweep).tags["dataset"]
    require(other == dataset, f"--against must name a sweep on {dataset}", dataset=other)
    low, high = LATENT_DIMS
    known = []
    for run in curves:
        cell = coordinates(json.loads(run.tags["cell"]))
        searched = low <= cell["latent_dim"] <= high and cell["family"] in options.families
        if run.status == "FINISHED" and searched:
            params = usual_cell(options, cell["family"], cell["latent_dim"])
            known.append((params, run.scalars["fcd_val_best"]))
    return known
