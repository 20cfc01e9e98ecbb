"""How do the samples of each family, and k steps of its chain, depend on the latent dimension?

The first command needs no download:

  python sweeps/latent_dim.py
  python sweeps/latent_dim.py --dataset celeba --data-root DIR
"""

import sys
from dataclasses import dataclass
from typing import Any

from genae_core.config.cli import cli
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.study import print_settings, study_experiment
from genae_core.sweep.launcher import launch


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    latent_dims: tuple[int, ...] | None = None
    """Latent dimensions to compare (default: the dataset's recipe)."""


def main(options: Options) -> int:
    """Run the grid family x latent dimension, each cell with one chain config."""
    recipe = dataset_recipe(options)
    chain = recipe.chain()

    def experiment(params: dict[str, Any]) -> Experiment:
        return study_experiment(options, params["family"], params["latent_dim"], (chain,))

    print_settings(options)
    dims = recipe.latent_dims if options.latent_dims is None else options.latent_dims
    return launch(
        "latent_dim",
        {"family": options.families, "latent_dim": dims},
        experiment,
        options,
    )


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
