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

import genae_core as genae
from genae_core import recipes, sweep, tracking
from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.recipes.options import DataOptions, Figure
from genae_core.sweep.options import LaunchOptions


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
    recipes.require_ten_classes(options.dataset)
    recipe = recipes.dataset_recipe(options)

    def experiment(params: dict[str, Any]) -> genae.Experiment:
        return recipes.figure_experiment(params["figure"], options.dataset, recipe, options.epochs)

    def on_end(tracker: tracking.Tracker, name: str, folder: Path) -> None:
        splits = genae.load_splits(recipe.data, home(), genae.LoadOptions(shards=options.shards))
        recipes.draw_figures(tracker, name, splits, recipe.data.binarize, folder / "figures")

    return sweep.launch("paper_figures", {"figure": options.figures}, experiment, options, on_end)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
