"""How much corruption should a denoising family have, in training and in its chain?

At 0 the families are the plain ones. The noise is a standard deviation: the papers' N(x, 0.25 I)
is 0.5.

  python sweeps/noise_level.py --seeds 0 1 2
"""

import sys
from dataclasses import dataclass, replace
from typing import Any

from genae_core.config import require
from genae_core.config.cli import cli
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.families import WITH_NOISE, Family
from genae_core.recipes.recipes import StudyOptions, chain_of, experiment, parts_of, recipe
from genae_core.sweep.launcher import launch


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    families: tuple[Family, ...] = ("vae", "aae")
    """Model families to compare."""
    noises: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    """Standard deviations of the corruption to compare."""
    latent_dim: int = 10
    """The one latent dimension."""


def main(options: Options) -> int:
    """The grid family x noise."""
    without = [family for family in options.families if family not in WITH_NOISE]
    require(not without, "these families have no corruption of their own", families=without)
    found = recipe(options)
    chain = chain_of(found)

    def cell(params: dict[str, Any]) -> Experiment:
        family = params["family"]
        parts = replace(parts_of(options, family), noise=params["noise"])
        return experiment(options, family, options.latent_dim, (chain,), parts)

    axes = {"family": options.families, "noise": options.noises}
    return launch("noise_level", axes, cell, options)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
