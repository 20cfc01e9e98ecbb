"""Which family gives the best samples, before and after k steps of its chain?

All families are trained for the same number of epochs.

  python sweeps/model_family.py --seeds 0 1 2
  python sweeps/model_family.py --dataset mnist --data-root DIR --families vae aae flow_ae
"""

import sys
from dataclasses import dataclass
from typing import Any

import genae_core as genae
from genae_core import recipes, sweep
from genae_core.config.cli import cli
from genae_core.recipes.families import families_with_encoder
from genae_core.recipes.options import FamilyName, StudyOptions


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    families: tuple[FamilyName, ...] = families_with_encoder()
    """Model families to compare."""
    latent_dims: tuple[int, ...] = (10,)
    """Latent dimensions at which the families are compared."""


def main(options: Options) -> int:
    """Run the grid family x latent dimension."""
    chain = recipes.dataset_recipe(options).chain()

    def experiment(params: dict[str, Any]) -> genae.Experiment:
        return recipes.study_experiment(options, params["family"], params["latent_dim"], (chain,))

    recipes.print_settings(options)
    return sweep.launch(
        "model_family",
        {"family": options.families, "latent_dim": options.latent_dims},
        experiment,
        options,
    )


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
