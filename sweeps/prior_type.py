"""What does the shape of the prior do to the samples, and to the chain that starts from it?

A family is trained with each prior that it can take: a KL needs a density, so a VAE takes no
uniform prior and no swiss roll; what compares samples (AAE, WAE) takes any that is fixed.

  python sweeps/prior_type.py --seeds 0 1 2
"""

import sys
from dataclasses import dataclass, replace
from typing import Any, get_args

from genae_core.config import require
from genae_core.config.cli import cli
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.families import TAKES, Family, PriorName
from genae_core.recipes.recipes import StudyOptions, chain_of, experiment, parts_of, recipe
from genae_core.sweep.launcher import launch


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    families: tuple[Family, ...] = ("vae", "aae", "wae_mmd")
    """Model families to compare, of those that have a prior."""
    priors: tuple[PriorName, ...] = get_args(PriorName)
    """Priors to compare."""
    latent_dim: int = 2
    """The one latent dimension; a swiss roll needs 2."""


def main(options: Options) -> int:
    """The grid family x prior, without the pairs that mean nothing."""
    fitted = [family for family in options.families if family not in TAKES]
    require(not fitted, "families with a fitted law have no prior to choose", families=fitted)
    found = recipe(options)
    chain = chain_of(found)

    def cell(params: dict[str, Any]) -> Experiment | None:
        family, prior = params["family"], params["prior"]
        if prior not in TAKES[family]:
            return None
        parts = replace(parts_of(options, family), prior=prior)
        return experiment(options, family, options.latent_dim, (chain,), parts)

    axes = {"family": options.families, "prior": options.priors}
    return launch("prior_type", axes, cell, options)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
