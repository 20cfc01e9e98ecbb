"""Which family gives the best samples, before and after k steps of its chain?

python sweeps/model_family.py --seeds 0 1 2
python sweeps/model_family.py --dataset mnist --data-root DIR --families vae aae flow_ae
"""

import sys
from dataclasses import dataclass
from typing import Any, get_args

from genae_core.config.cli import cli
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.families import Family
from genae_core.recipes.recipes import StudyOptions, chain_of, experiment, recipe
from genae_core.sweep.launcher import launch


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    families: tuple[Family, ...] = get_args(Family)
    """Model families to compare."""
    latent_dims: tuple[int, ...] = (10,)
    """Latent dimensions to compare them at."""


def main(options: Options) -> int:
    """The grid family x latent dimension, every family trained as long."""
    parts = recipe(options)
    chain = chain_of(parts)

    def cell(params: dict[str, Any]) -> Experiment:
        return experiment(options, params["family"], params["latent_dim"], (chain,))

    axes = {"family": options.families, "latent_dim": options.latent_dims}
    return launch("model_family", axes, cell, options)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
