"""Tables of paper_tables.py that compare the values of an axis, each with the one before.

The differences are paired: both settings were trained with the same seeds, so what a seed does to
both is not in the interval.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from genae_core.experiment.experiment import Experiment
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.paper_rows import Row, print_rows
from genae_core.recipes.settings import replace_settings
from genae_core.recipes.study import image_space_experiment, study_experiment
from genae_core.recipes.swept_table import SweptTable, prior_draws
from genae_core.report.intervals import interval
from genae_core.samplers.config import ChainConfig
from genae_core.tracking.mlflow_store import StoredRun, Tracker


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a table compares.

    Args:
        axis: The name of the axis.
        values: Its values, in the order of the rows.
        measures: The measures by name: the chain metric at step 0, and the factor of its unit.
    """

    axis: str
    values: tuple[str | float, ...]
    measures: Mapping[str, tuple[str, float]]


COMPARISONS: dict[str, Comparison] = {
    # Berthelot et al. 2017, section 4.2: a smaller gamma gives clearer images of fewer kinds.
    "began_gamma": Comparison(
        axis="gamma",
        values=(0.3, 0.5, 0.7),
        measures={"recall, %": ("recall", 100.0), "precision, %": ("precision", 100.0)},
    ),
    # Tolstikhin et al. 2018, Table 1: WAE-GAN has the best samples, then WAE-MMD, then the VAE.
    "wae": Comparison(
        axis="family", values=("vae", "wae_mmd", "wae_gan"), measures={"FCD": ("fcd", 1.0)}
    ),
}
GAMMA_LATENT_DIM = 16
WAE_LATENT_DIMS = {1: 8, 3: 64}  # by channels: MNIST and CelebA in Tolstikhin et al. 2018


def comparison_table(table: str, study: StudyOptions) -> SweptTable:
    """The table of this name in COMPARISONS."""
    comparison, chain = COMPARISONS[table], prior_draws(study)

    def experiment(params: Mapping[str, Any]) -> Experiment:
        return comparison_experiment(study, table, params, chain)

    def show(tracker: Tracker, sweep: str, _: Path) -> list[Row]:
        metrics = [metric for metric, _ in comparison.measures.values()]
        rows = comparison_rows(table, tracker.read_runs(sweep, metrics))
        print_rows(rows)
        return rows

    return SweptTable({comparison.axis: comparison.values}, experiment, show)


def comparison_experiment(
    study: StudyOptions, table: str, params: Mapping[str, Any], chain: ChainConfig
) -> Experiment:
    """The experiment of a setting of a table.

    Args:
        study: The study's flags.
        table: The table's name in COMPARISONS.
        params: The value of the table's axis.
        chain: The draws from the prior, which are measured.
    """
    if table == "began_gamma":
        experiment = image_space_experiment(study, "began", GAMMA_LATENT_DIM, (chain,))
        model = replace_settings(experiment.model, {"gamma": params["gamma"]})
        return replace(experiment, model=model)
    latent_dim = WAE_LATENT_DIMS[dataset_recipe(study).data.shape[0]]
    return study_experiment(study, params["family"], latent_dim, (chain,))


def comparison_rows(table: str, runs: Sequence[StoredRun]) -> list[Row]:
    """The rows of the settings, then those of the differences of neighbours, for each measure.

    Args:
        table: The table's name in COMPARISONS.
        runs: The runs of the sweep; those without a result are left out.

    Returns:
        The rows. A setting without a result has none; a difference needs a seed that both have.
    """
    comparison = COMPARISONS[table]
    rows: list[Row] = []
    for measure, (metric, factor) in comparison.measures.items():
        values: dict[Any, dict[str, float]] = {value: {} for value in comparison.values}
        for run in runs:
            if run.status != "FINISHED" or 0 not in run.chain.get(metric, {}):
                continue
            value = json.loads(run.tags["cell"])[comparison.axis]
            values[value][run.tags["seed"]] = factor * run.chain[metric][0]
        name = "" if comparison.axis == "family" else f"{comparison.axis} "
        for value, by_seed in values.items():
            rows += _row(f"{measure}: {name}{value}", list(by_seed.values()))
        for low, high in pairwise(comparison.values):
            shared = values[low].keys() & values[high].keys()
            differences = [values[high][seed] - values[low][seed] for seed in sorted(shared)]
            rows += _row(f"{measure}: {name}{high} - {low}", differences)
    return rows


def _row(name: str, values: Sequence[float]) -> list[Row]:
    """The row of these values, one for each seed; none without values."""
    if not values:
        return []
    mean, low, high = interval(values)
    return [Row(name=name, paper=None, mean=mean, low=low, high=high, n=len(values))]
