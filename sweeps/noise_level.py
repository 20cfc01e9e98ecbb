"""How much corruption should a denoising family have, in training and in its chain?

With noise 0 the families are the plain ones. The noise is a standard deviation: the papers'
N(x, 0.25 I) is 0.5.

  python sweeps/noise_level.py --seeds 0 1 2
"""

import sys
from dataclasses import dataclass, replace
from typing import Any

import genae_core as genae
from genae_core import recipes, sweep
from genae_core.config import require
from genae_core.config.cli import cli
from genae_core.recipes.families import FAMILIES
from genae_core.recipes.options import FamilyName, StudyOptions


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    families: tuple[FamilyName, ...] = ("vae", "aae")
    """Model families to compare."""
    noises: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    """Standard deviations of the corruption to compare."""
    latent_dim: int = 10
    """Latent dimension of all models."""


def main(options: Options) -> int:
    """Run the grid family x noise."""
    require(
        options.noise is None,
        "this study compares several noises: give --noises instead of --noise",
        noise=options.noise,
    )
    without = [name for name in options.families if FAMILIES[name].noise == "none"]
    require(not without, "these families take no corruption: leave them out", families=without)
    chain = recipes.dataset_recipe(options).chain()

    def experiment(params: dict[str, Any]) -> genae.Experiment:
        family = params["family"]
        parts = replace(recipes.study_parts(options, family), noise=params["noise"])
        return recipes.study_experiment(options, family, options.latent_dim, (chain,), parts)

    recipes.print_settings(options)
    return sweep.launch(
        "noise_level",
        {"family": options.families, "noise": options.noises},
        experiment,
        options,
    )


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
