"""Which generative model makes the best images: those in image space, or decoded latent codes?

GANs and their relatives have no encoder, so their samples are draws from the prior. A VAE stands
beside them, before and after k steps of its chain. All families make the same number of steps of
their generator.

  python sweeps/image_space.py
  python sweeps/image_space.py --dataset mnist --data-root DIR --families vae gan wgan_gp
"""

import sys
from dataclasses import dataclass
from typing import Any

import genae_core as genae
from genae_core import recipes, sweep
from genae_core.config.cli import cli
from genae_core.recipes.families import families_in_image_space
from genae_core.recipes.options import FamilyName, StudyOptions


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    families: tuple[FamilyName, ...] = ("vae", *families_in_image_space())
    """Model families to compare."""
    latent_dims: tuple[int, ...] = (16,)
    """Latent dimensions at which the families are compared; info_gan needs 13."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the training; each cell is trained once with each of them."""


def main(options: Options) -> int:
    """Run the grid family x latent dimension."""
    chain = recipes.dataset_recipe(options).chain()

    def experiment(params: dict[str, Any]) -> genae.Experiment:
        return recipes.image_space_experiment(
            options, params["family"], params["latent_dim"], (chain,)
        )

    recipes.print_settings(options)
    return sweep.launch(
        "image_space",
        {"family": options.families, "latent_dim": options.latent_dims},
        experiment,
        options,
    )


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
