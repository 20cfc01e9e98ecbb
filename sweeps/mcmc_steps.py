"""How many steps of the chain help, and what does batch normalisation while sampling decide?

Every cell is trained once a seed and sampled twice: normalised by the sub-batch, as Creswell et
al. 2017 (section 4.3) do, and by the running averages of training.

  python sweeps/mcmc_steps.py --dataset mnist --data-root DIR
"""

import sys
from dataclasses import dataclass
from typing import Any

from recipes import StudyOptions, chain_of, experiment, recipe

from genae_core.cli import cli
from genae_core.experiment import Experiment
from genae_core.launch import launch

RECORD = (0, 1, 2, 3, 5, 7, 10, 15, 20)


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the training; each cell is trained once with each."""
    latent_dims: tuple[int, ...] = (10, 200)
    """Latent dimensions to compare."""


def main(options: Options) -> int:
    """The grid family x latent dimension, each cell with both normalisations."""
    parts = recipe(options)
    batch, running = (
        chain_of(parts, batch_norm=mode, record=RECORD) for mode in ("batch", "running")
    )

    def cell(params: dict[str, Any]) -> Experiment:
        return experiment(options, params["family"], params["latent_dim"], (batch, running))

    axes = {"family": options.families, "latent_dim": options.latent_dims}
    return launch("mcmc_steps", axes, cell, options)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
