"""What does the shape of the prior do to the samples, and to the chain that starts from it?

A family is trained with each prior that it can take. A KL divergence needs a density, so a VAE
takes neither a uniform prior nor a swiss roll. Families that compare samples (AAE, WAE) take any
prior that training does not change.

  python sweeps/prior_type.py --seeds 0 1 2
"""

import sys
from dataclasses import dataclass, replace
from typing import Any

import genae_core as genae
from genae_core import recipes, sweep
from genae_core.config import require
from genae_core.config.cli import cli
from genae_core.recipes.families import FAMILIES, PRIORS, PriorName
from genae_core.recipes.options import FamilyName, StudyOptions


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    families: tuple[FamilyName, ...] = ("vae", "aae", "wae_mmd")
    """Model families to compare; they must have a prior."""
    priors: tuple[PriorName, ...] = tuple(PRIORS)
    """Priors to compare."""
    latent_dim: int = 2
    """Latent dimension of all models; a swiss roll needs 2."""


def main(options: Options) -> int:
    """Run the grid family x prior, without the priors that a family cannot take."""
    fixed = [name for name in options.families if not FAMILIES[name].priors]
    require(not fixed, "these families have no prior to choose: leave them out", families=fixed)
    chain = recipes.dataset_recipe(options).chain()

    def experiment(params: dict[str, Any]) -> genae.Experiment | None:
        family, prior = params["family"], params["prior"]
        if prior not in FAMILIES[family].priors:
            return None
        parts = replace(recipes.study_parts(options, family), prior=prior)
        return recipes.study_experiment(options, family, options.latent_dim, (chain,), parts)

    recipes.print_settings(options)
    return sweep.launch(
        "prior_type",
        {"family": options.families, "prior": options.priors},
        experiment,
        options,
    )


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
