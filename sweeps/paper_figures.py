"""Draw the figures of Makhzani et al. 2016 with models that are trained here.

  gaussian_aae, gaussian_vae, mixture_aae, mixture_vae
                   held-out codes in two dimensions, coloured by class, and the manifold of the
                   Gaussian AAE (figure 2)
  semi_supervised  the codes of a mixture with a Gaussian for each class, trained with a fifth of
                   the labels, and the first manifolds (figures 4a, 4b). The study prints how often
                   the most responsible Gaussian is the Gaussian of the image's class
  swiss_roll       the codes along a roll, and a walk along it (figures 4c, 4d)
  style            images whose decoder gets the class (figure 5)

Every model also shows samples above their closest training images (figure 6).

  python sweeps/paper_figures.py --dataset mnist --data-root DIR
  python sweeps/paper_figures.py --figures semi_supervised --seeds 0 1 2 --dataset mnist ...
  python sweeps/paper_figures.py --figures style --dataset svhn --data-root DIR
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from genae_core.config import require
from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.data.load import LoadOptions, load_splits
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.figure_drawings import draw_figures
from genae_core.recipes.figure_models import COUNTS, Figure, figure_experiment
from genae_core.recipes.options import DataOptions
from genae_core.sweep.launcher import launch
from genae_core.sweep.options import LaunchOptions
from genae_core.tracking.mlflow_store import Tracker


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions, LaunchOptions):
    """The flags of this study."""

    figures: tuple[Figure, ...] = get_args(Figure)
    """Figures to draw."""
    epochs: int | None = None
    """Passes over the training images (default: six times the epochs of the dataset's recipe; for
    style, its epochs)."""


def main(options: Options) -> int:
    """Train the models that the figures show, and draw the figures."""
    require(options.dataset in COUNTS, "these figures need ten classes", dataset=options.dataset)
    recipe = dataset_recipe(options)

    def experiment(params: dict[str, Any]) -> Experiment:
        return figure_experiment(params["figure"], options.dataset, recipe, options.epochs)

    def on_end(tracker: Tracker, sweep: str, folder: Path) -> None:
        splits = load_splits(recipe.data, home(), LoadOptions(shards=options.shards))
        draw_figures(tracker, sweep, splits, recipe.data.binarize, folder / "figures")

    return launch("paper_figures", {"figure": options.figures}, experiment, options, on_end)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
