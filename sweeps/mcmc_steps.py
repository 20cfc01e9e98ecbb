"""What do k steps of each sampler do to the samples of each model?

Every cell is trained once with each seed, and each trained model is sampled in several ways:

  encode_decode  the published chain, which starts from the prior (Creswell et al. 2017). It runs
                 twice: normalised by the sub-batch as in the paper, and by running averages
  clean          the same chain without the corruption, for models that have one
  sample         the same chain, but it encodes samples of p(x|z) instead of its mean
  refined        the same chain, which starts from a Gaussian mixture fitted to the codes
  langevin       Langevin moves on that mixture, which start from N(0, I)
  metropolis     the encode/decode proposal, accepted or rejected. This is a control: its samples
                 are the model's own samples at every step

  python sweeps/mcmc_steps.py --dataset mnist --data-root DIR
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import genae_core as genae
from genae_core import recipes, sweep, tracking
from genae_core.config import require
from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.recipes.options import SamplerName, StudyOptions


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the training; each cell is trained once with each of them."""
    latent_dims: tuple[int, ...] = (10, 200)
    """Latent dimensions to compare."""
    models: tuple[str, ...] = ()
    """Models of the grid to train, e.g. vae-10 daae-200 (default: every family at every
    dimension)."""
    samplers: tuple[SamplerName, ...] = get_args(SamplerName)
    """Samplers to compare; a sampler that does not apply to a model is listed as n/a."""
    record: tuple[int, ...] = (0, 1, 2, 3, 5, 10, 20, 50)
    """Steps at which the chains are measured, ascending from 0."""


def main(options: Options) -> int:
    """Run the grid family x latent dimension, each cell with all samplers that apply to it."""
    require(len(options.samplers) > 0, "--samplers must name at least one", samplers=())
    names = {f"{family}-{dim}" for family in options.families for dim in options.latent_dims}
    require(
        names.issuperset(options.models),
        f"--models must be among {', '.join(sorted(names))}",
        models=options.models,
    )
    recipe = recipes.dataset_recipe(options)
    data = recipe.data
    labelled = list(recipes.labelled_chains(recipe, options.samplers, options.record))
    refusals: dict[tuple[str, int], list[recipes.Refusal]] = {}

    def experiment(params: dict[str, Any]) -> genae.Experiment | None:
        family, dim = params["family"], params["latent_dim"]
        if options.models and f"{family}-{dim}" not in options.models:
            return None
        model = recipes.study_experiment(options, family, dim, (labelled[0].chain,)).model
        refusals[model.family, dim] = recipes.refusals_of(model, labelled, data.shape)
        refused = {refusal.label for refusal in refusals[model.family, dim]}
        chains = tuple(chain for label, chain in labelled if label not in refused)
        require(len(chains) > 0, f"no sampler of --samplers applies to {family}")
        return recipes.study_experiment(options, family, dim, chains)

    def on_end(tracker: tracking.Tracker, name: str, folder: Path) -> None:
        labels = [label for label, _ in labelled]
        recipes.write_results(tracker, name, folder, labels, refusals)
        splits = genae.load_splits(data, home(), genae.LoadOptions(shards=options.shards))
        chain, figures = labelled[0].chain, folder / "figures"
        recipes.draw_interpolations(tracker, name, splits.test, data.binarize, chain, figures)
        steps = ", ".join(map(str, recipes.INTERPOLATED_STEPS))
        print(f"drawn:  {figures} (interpolations after {steps} steps)")

    recipes.print_settings(options)
    return sweep.launch(
        "mcmc_steps",
        {"family": options.families, "latent_dim": options.latent_dims},
        experiment,
        options,
        on_end,
    )


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
