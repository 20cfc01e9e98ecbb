"""The grid of architectures and losses of Gulrajani et al. 2017, figure 2, for paper_tables.py.

The claim is that WGAN-GP trains every architecture, and each other loss fails with one. The rows
are those of the paper's table 2, at the size of minutes: its ResNet has 101 layers, and ours two
residual blocks after each layer of the DCGAN.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genae_core.experiment.experiment import Experiment
from genae_core.nets.base import NetConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.study import image_space_experiment
from genae_core.recipes.swept_table import SweptTable, prior_draws
from genae_core.report.formatting import decimals
from genae_core.report.tables import align_columns, closing_lines
from genae_core.samplers.config import ChainConfig
from genae_core.tracking.mlflow_store import StoredRun, Tracker

LATENT_DIM, WIDTH, EPOCHS = 64, 16, 3
BASELINE = "DCGAN"
FAILS = 3.0  # a training has failed if its FCD is so many times that of its loss's baseline
LOSSES = {"gan": "GAN", "ls_gan": "LSGAN", "wgan": "WGAN", "wgan_gp": "WGAN-GP"}
LAYERS = DCGANConfig(width=WIDTH)
SCORES = DCGANConfig(width=WIDTH, activation="leaky_relu")
# The networks of the generator and of the critic. A gradient penalty takes the critic without
# batch normalisation.
ARCHITECTURES: dict[str, tuple[NetConfig, DCGANConfig]] = {
    BASELINE: (LAYERS, SCORES),
    "constant width, no BN in G": (replace(LAYERS, growth=1, batch_norm=False), SCORES),
    "MLP 4 x 512 in G": (
        MLPConfig(widths=(512,) * 4, activation="relu", batch_norm=False),
        SCORES,
    ),
    "no BN": (replace(LAYERS, batch_norm=False), replace(SCORES, batch_norm=False)),
    "gated": (replace(LAYERS, activation="gated"), replace(SCORES, activation="gated")),
    "tanh": (replace(LAYERS, activation="tanh"), replace(SCORES, activation="tanh")),
    "residual blocks": (replace(LAYERS, blocks=2), replace(SCORES, blocks=2)),
}
ROBUSTNESS_GRID = {"architecture": tuple(ARCHITECTURES), "family": tuple(LOSSES)}


@dataclass(frozen=True, kw_only=True)
class RobustnessRow:
    """An architecture with a loss.

    Args:
        architecture: Its name in ARCHITECTURES.
        loss: The family's name in the literature.
        fcd: The FCDs of the seeds that have a result.
        failed: The number of seeds that have no result, or an FCD of more than FAILS times the
            mean of the baseline with this loss.
        n: The number of seeds.
    """

    architecture: str
    loss: str
    fcd: list[float]
    failed: int
    n: int


def robustness_table(study: StudyOptions) -> SweptTable:
    """The table of a study."""
    chain = prior_draws(study)

    def experiment(params: Mapping[str, Any]) -> Experiment:
        return robustness_experiment(study, params, chain)

    def show(tracker: Tracker, sweep: str, _: Path) -> list[RobustnessRow]:
        runs = tracker.read_runs(sweep)
        rows = robustness_rows(runs)
        print_robustness(rows, runs)
        return rows

    return SweptTable(ROBUSTNESS_GRID, experiment, show)


def robustness_experiment(
    study: StudyOptions, params: Mapping[str, Any], chain: ChainConfig
) -> Experiment:
    """The experiment of an architecture with a loss.

    Args:
        study: The study's flags.
        params: The architecture and the family.
        chain: The draws from the prior, which are measured.
    """
    family = params["family"]
    experiment = image_space_experiment(study, family, LATENT_DIM, (chain,))
    net, critic = ARCHITECTURES[params["architecture"]]
    if family == "wgan_gp":
        critic = replace(critic, batch_norm=False)
    model: Any = experiment.model
    training = experiment.training
    assert training is not None
    if study.epochs is None:
        training = replace(training, epochs=min(EPOCHS, training.epochs))
    model = replace(model, net=net, critic=critic)
    return replace(experiment, model=model, training=training)


def robustness_rows(runs: Sequence[StoredRun]) -> list[RobustnessRow]:
    """The cells of the grid that have a run, with their failures.

    Args:
        runs: The runs of the sweep, also those that failed.
    """
    fcds: dict[tuple[str, str], dict[str, float | None]] = {}
    for run in runs:
        cell = json.loads(run.tags["cell"])
        by_seed = fcds.setdefault((cell["architecture"], cell["family"]), {})
        if run.status == "FINISHED":
            by_seed[run.tags["seed"]] = run.scalars["fcd_step0"]
        elif run.status == "FAILED":
            by_seed.setdefault(run.tags["seed"], None)
    rows = []
    for architecture in ARCHITECTURES:
        for family, loss in LOSSES.items():
            by_seed = fcds.get((architecture, family), {})
            if not by_seed:
                continue
            finished = [fcd for fcd in by_seed.values() if fcd is not None]
            baseline = [f for f in fcds.get((BASELINE, family), {}).values() if f is not None]
            limit = FAILS * statistics.mean(baseline) if baseline else float("inf")
            bad = sum(fcd > limit for fcd in finished)
            rows.append(
                RobustnessRow(
                    architecture=architecture,
                    loss=loss,
                    fcd=finished,
                    failed=bad + len(by_seed) - len(finished),
                    n=len(by_seed),
                )
            )
    return rows


def print_robustness(rows: Sequence[RobustnessRow], runs: Sequence[StoredRun]) -> None:
    """Print the grid: the mean FCD of each cell, and how many of its seeds failed."""
    table = [["", *LOSSES.values()]]
    cells = {(row.architecture, row.loss): row for row in rows}
    for architecture in ARCHITECTURES:
        line = [cells.get((architecture, loss)) for loss in LOSSES.values()]
        table.append([architecture, *map(_describe, line)])
    print(f"\n{align_columns(table)}")
    print(
        f"mean FCD of draws from the prior; failed: no result, or an FCD of more than {FAILS:g} "
        f"times that of the {BASELINE} with the same loss"
    )
    for text in closing_lines(run for run in runs if run.status == "FINISHED"):
        print(text)


def _describe(row: RobustnessRow | None) -> str:
    if row is None:
        return "-"
    failed = f", {row.failed} of {row.n} failed" if row.failed else ""
    if not row.fcd:
        return f"-{failed}"
    mean = statistics.mean(row.fcd)
    return f"{mean:.{decimals(mean)}f}{failed}"
