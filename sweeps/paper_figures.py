"""Draw the figures of the papers with models that are trained here.

Of Makhzani et al. 2016 (--paper makhzani):

  gaussian_aae, gaussian_vae, mixture_aae, mixture_vae
                   held-out codes in two dimensions, coloured by class, and the manifold of the
                   Gaussian AAE (figure 2)
  semi_supervised  the codes of a mixture with a Gaussian for each class, trained with a fifth of
                   the labels, and the first manifolds (figures 4a, 4b). The study prints how often
                   the most responsible Gaussian is the Gaussian of the image's class
  swiss_roll       the codes along a roll, and a walk along it (figures 4c, 4d)
  style            images whose decoder gets the class (figure 5)

Every model also shows samples above their closest training images (figure 6).

Of Creswell et al. 2017 and 2016 (--paper creswell), of VAE, DVAE, AAE and DAAE:

  samples          samples of the prior, and after 1, 5 and 10 steps of the chain (figures 4, 7)
  interpolations   spherical paths between held-out images, before and after these steps (figures
                   2, 5, 6, 8)
  denoising        images, the same with noise, and their reconstructions (figure 3)

Of Sridhar & Srivastava (--paper sridhar), of VAE, AAE, AdvAE and FlowAE:

  samples          samples of each model (figure 4)
  losses           the losses of generator and flow (figures 5, 6)
  tsne             t-SNE of held-out codes of the VAE and of the plain autoencoder (figures 2, 7)

The pages of the last two papers are PNGs of 300 dpi and PDFs. Below each picture stands what
differs from the paper. The other figures of these papers are drawings of the methods.

  python sweeps/paper_figures.py --dataset mnist --data-root DIR
  python sweeps/paper_figures.py --figures semi_supervised --seeds 0 1 2 --dataset mnist ...
  python sweeps/paper_figures.py --figures style --dataset svhn --data-root DIR
  python sweeps/paper_figures.py --paper creswell --dataset celeba --crop 1 --data-root DIR
  python sweeps/paper_figures.py --paper sridhar --dataset mnist --data-root DIR
"""

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import genae_core as genae
from genae_core import recipes, sweep, tracking
from genae_core.config import require, require_positive_int
from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.recipes.options import (
    CreswellFigure,
    Figure,
    FigureName,
    FigurePaper,
    SridharFigure,
    StudyOptions,
)

FIGURES: dict[str, tuple[Any, ...]] = {
    "makhzani": get_args(Figure),
    "creswell": get_args(CreswellFigure),
    "sridhar": get_args(SridharFigure),
}
# Flags of all studies that the models of a paper do not leave open.
FIXED = {
    "makhzani": (
        *("learning_rate", "net", "net_width", "families", "noise", "settings"),
        *("latent_dim", "images", "chains"),
    ),
    "creswell": (),
    "sridhar": ("families", "noise", "settings"),
}


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    paper: FigurePaper = "makhzani"
    """The paper: Makhzani et al. 2016, Creswell et al. 2017, or Sridhar & Srivastava."""
    figures: tuple[FigureName, ...] = ()
    """Figures to draw (default: all of the paper)."""
    epochs: int | None = None
    """Passes over the training images (default: those of the dataset's recipe; for makhzani six
    times as many, except for style)."""
    latent_dim: int | None = None
    """Latent dimension of the models (default: the paper's, 200 for creswell and 10 for
    sridhar)."""
    images: int | None = None
    """Number of training images; the first ones are used (default: all)."""
    chains: int | None = None
    """Number of chains whose samples the FCDs below the pictures compare with images (default: as
    many as there are images); few save time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = FIGURES[self.paper]
        require(
            set(self.figures) <= set(names),
            f"the figures of {self.paper} are {', '.join(names)}",
            figures=self.figures,
        )
        usual = {field.name: field.default for field in fields(self)}
        for name in FIXED[self.paper]:
            flag = "set" if name == "settings" else name.replace("_", "-")
            value = getattr(self, name)
            require(
                value == usual[name], f"--paper {self.paper} takes no --{flag}", **{name: value}
            )
        for name in ("latent_dim", "images", "chains"):
            if getattr(self, name) is not None:
                require_positive_int(**{name: getattr(self, name)})

    @property
    def chosen(self) -> tuple[Any, ...]:
        """The figures to draw."""
        return self.figures or FIGURES[self.paper]


def makhzani(options: Options) -> int:
    """Train the models that the figures of Makhzani et al. show, and draw the figures."""
    recipes.require_ten_classes(options.dataset)
    recipe = recipes.dataset_recipe(options)

    def experiment(params: dict[str, Any]) -> genae.Experiment:
        return recipes.figure_experiment(params["figure"], options.dataset, recipe, options.epochs)

    def on_end(tracker: tracking.Tracker, name: str, folder: Path) -> None:
        splits = genae.load_splits(recipe.data, home(), genae.LoadOptions(shards=options.shards))
        recipes.draw_figures(tracker, name, splits, recipe.data.binarize, folder / "figures")
        for figure in options.chosen:
            deviations = recipes.makhzani_deviations(experiment({"figure": figure}), splits)
            print(f"{figure}: {recipes.describe_deviations(deviations)}")

    return sweep.launch("paper_figures", {"figure": options.chosen}, experiment, options, on_end)


def pages_of(options: Options) -> int:
    """Train the models of one of the other papers, and draw its figures as pages."""
    recipe = recipes.dataset_recipe(options)
    names = ("latent_dim", "images", "chains")
    sizes = recipes.FigureSizes(**{name: getattr(options, name) for name in names})
    if options.paper == "creswell":
        families = recipes.creswell_families(options.chosen, options.families)
        experiment_of, draw = recipes.creswell_experiment, recipes.draw_creswell
        deviations = recipes.creswell_deviations
    else:
        families = recipes.sridhar_families(options.chosen)
        experiment_of, draw = recipes.sridhar_experiment, recipes.draw_sridhar
        deviations = recipes.sridhar_deviations

    def experiment(params: dict[str, Any]) -> genae.Experiment:
        return experiment_of(options, params["family"], sizes)

    def on_end(tracker: tracking.Tracker, name: str, folder: Path) -> None:
        splits = genae.load_splits(recipe.data, home(), genae.LoadOptions(shards=options.shards))
        pages = recipes.FigurePages(
            tracker=tracker,
            splits=splits,
            folder=folder / "figures",
            deviations=deviations,
            settings=options.assignments,
        )
        experiments = {family: experiment({"family": family}) for family in families}
        draw(pages, list(pages.subjects(name, experiments)), options.chosen)

    return sweep.launch("paper_figures", {"family": families}, experiment, options, on_end)


def main(options: Options) -> int:
    """Train the models that the figures show, and draw the figures."""
    return makhzani(options) if options.paper == "makhzani" else pages_of(options)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
