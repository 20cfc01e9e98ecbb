"""Table 1 of Sridhar & Srivastava, and the pictures of codes of their figure 7."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from genae_core.data.base import Split
from genae_core.evaluation.code_measures import tsne
from genae_core.experiment.experiment import Experiment
from genae_core.models.base import Autoencoder
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.paper_rows import Row, print_rows
from genae_core.recipes.pictures import images_of, model_of
from genae_core.recipes.study import study_experiment
from genae_core.recipes.swept_table import SweptTable, prior_draws, splits_of
from genae_core.report.intervals import interval
from genae_core.report.plots import Cloud, scatter
from genae_core.report.tables import describe_ruler, is_blind
from genae_core.samplers.config import ChainConfig
from genae_core.tracking.mlflow_store import RULER, StoredRun, Tracker

LATENT_DIM = 10
# The name in the paper, the FCD there, and the family here. The paper has no FCD for the spline.
TABLE: tuple[tuple[str, float | None, str], ...] = (
    ("VAE", 8.12, "vae"),
    ("AAE", 6.09, "aae"),
    ("AdvAE", 6.03, "adv_ae"),
    ("FlowAE", 4.65, "flow_ae"),
    ("FlowAE (spline)", None, "flow_ae_spline"),
)
REAL = 0.2  # the paper's FCD of real data
# The families whose codes are drawn, with the titles.
DRAWN = (("vae", "VAE"), ("flow_ae", "autoencoder of FlowAE and AdvAE"))
IMAGES = 2_000  # in a t-SNE; the paper does not state their number


def flowae_families() -> tuple[str, ...]:
    """The families of the table."""
    return tuple(family for _, _, family in TABLE)


def flowae_table(study: StudyOptions) -> SweptTable:
    """The table of a study, and the pictures of codes."""
    chain, data = prior_draws(study), dataset_recipe(study).data

    def experiment(params: Mapping[str, Any]) -> Experiment:
        return flowae_experiment(study, params["family"], chain)

    def show(tracker: Tracker, sweep: str, folder: Path) -> list[Row]:
        rows = flowae_rows(tracker.read_runs(sweep))
        print_rows(rows)
        draw_codes(tracker, sweep, folder, splits_of(study).test, data.binarize)
        return rows

    return SweptTable({"family": flowae_families()}, experiment, show)


def flowae_experiment(study: StudyOptions, family: str, chain: ChainConfig) -> Experiment:
    """The experiment of one row of the table.

    Args:
        study: The study's flags.
        family: One of the table's families.
        chain: The config of the chain whose samples are measured.
    """
    return study_experiment(study, family, LATENT_DIM, (chain,))


def flowae_rows(curves: list[StoredRun]) -> list[Row]:
    """The table from the finished runs: the FCD at step 0 against the test half.

    Args:
        curves: The runs of the sweep.

    Returns:
        The row of real images, then a row for each family with a finished run; no row without one.
    """
    finished = [run for run in curves if run.status == "FINISHED"]
    if not finished:
        return []
    floor = finished[0].scalars["fcd_floor"]  # every run compares the same images
    rows = [Row(name="Real data", paper=REAL, mean=floor, n=1, fcd_ratio=1.0)]
    for name, paper, family in TABLE:
        runs = [run for run in finished if _family_of(run) == family]
        if runs:
            mean, low, high = interval([run.scalars["fcd_step0"] for run in runs])
            rows.append(
                Row(
                    name=name,
                    paper=paper,
                    mean=mean,
                    low=low,
                    high=high,
                    n=len(runs),
                    fcd_ratio=mean / floor if floor > 0 and not any(map(is_blind, runs)) else None,
                    ruler=describe_ruler(runs[0]) if RULER in runs[0].tags else None,
                )
            )
    return rows


def draw_codes(tracker: Tracker, sweep: str, folder: Path, test: Split, binarize: bool) -> None:
    """Draw a t-SNE of the codes of held-out images (Sridhar & Srivastava, figure 7).

    One picture is for the VAE, and one for the autoencoder that FlowAE and AdvAE share.

    Args:
        tracker: The store of the sweep; the runs of seed 0 get the pictures as artifacts.
        sweep: The sweep's name.
        folder: The folder of the sweep. The pictures are in its folder figures.
        test: The held-out images.
        binarize: Whether the models see binarised images.
    """
    finished = [run for run in tracker.read_runs(sweep) if run.status == "FINISHED"]
    for family, title in DRAWN:
        runs = [run for run in finished if run.tags["seed"] == "0" and _family_of(run) == family]
        if not runs:
            continue
        model = model_of(tracker, runs[0])
        assert isinstance(model, Autoencoder)
        points, labels = code_map(model, test, binarize)
        path = folder / "figures" / f"tsne_{family}.png"
        path.parent.mkdir(exist_ok=True)
        cloud = Cloud(f"t-SNE of {len(points):,} codes: {title}", points, labels)
        scatter([cloud], path)
        tracker.log_files(runs[0].run_id, path, "figures")
        print(f"t-SNE:  {path}")


class CodeMap(NamedTuple):
    """Codes of N images in a plane: points [N, 2], and their labels [N]."""

    points: NDArray[np.float32]
    labels: NDArray[Any]


def code_map(model: Autoencoder, split: Split, binarize: bool) -> CodeMap:
    """The t-SNE of the codes of the first images of a split.

    Args:
        model: The autoencoder.
        split: The images.
        binarize: Whether the model sees binarised images.
    """
    count = min(IMAGES, len(split.images))
    with torch.no_grad():
        codes = model.encode(images_of(split, np.arange(count), binarize)).mean
    return CodeMap(tsne(codes, seed=0).numpy(), split.labels[:count])


def _family_of(run: StoredRun) -> str:
    return str(json.loads(run.tags["cell"])["family"])
