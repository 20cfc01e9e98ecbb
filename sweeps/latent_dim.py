"""How do the samples of each family, and k steps of its chain, depend on the latent dimension?

The first command needs no download:

  python sweeps/latent_dim.py
  python sweeps/latent_dim.py --dataset celeba --data-root DIR
"""

import sys
from dataclasses import dataclass
from typing import Any

import genae_core as genae
from genae_core import recipes, sweep
from genae_core.config.cli import cli
from genae_core.recipes.options import StudyOptions


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    latent_dims: tuple[int, ...] | None = None
    """Latent dimensions to compare (default: the dataset's recipe)."""


def main(options: Options) -> int:
    """Run the grid family x latent dimension, each cell with one chain config."""
    recipe = recipes.dataset_recipe(options)
    chain = recipe.chain()

    def experiment(params: dict[str, Any]) -> genae.Experiment:
        return recipes.study_experiment(options, params["family"], params["latent_dim"], (chain,))

    recipes.print_settings(options)
    dims = recipe.latent_dims if options.latent_dims is None else options.latent_dims
    return sweep.launch(
        "latent_dim",
        {"family": options.families, "latent_dim": dims},
        experiment,
        options,
    )


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
