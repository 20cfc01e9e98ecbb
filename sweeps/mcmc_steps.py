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

More samplers run if --samplers names them:

  annealed       the chain from the prior with noise that falls to zero in five steps
  selected       like refined, with as many Gaussians as held-out codes choose
  selected_clean the same without the corruption
  selected_metropolis  the encode/decode step from that mixture, accepted or rejected so that the
                 mixture stays the distribution of z; a control like metropolis
  resampled      from that mixture, resampled by a classifier of codes; without corruption
  fitted_flow    from a flow that is fitted to the codes; without corruption

A model that another package has trained is not trained here; --wrapped adds it to the grid.

  python sweeps/mcmc_steps.py --dataset mnist --data-root DIR
  python sweeps/mcmc_steps.py --dataset mnist --data-root DIR --wrapped pythae FOLDER
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
from genae_core.recipes.families import FAMILIES
from genae_core.recipes.options import SamplerName, StudyOptions, UsualSampler, WrappedOptions


@dataclass(frozen=True, kw_only=True)
class Options(WrappedOptions, StudyOptions):
    """The flags of this study."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the training; each cell is trained once with each of them."""
    latent_dims: tuple[int, ...] = (10, 200)
    """Latent dimensions to compare."""
    models: tuple[str, ...] = ()
    """Models of the grid to train, e.g. vae-10 daae-200 (default: every family at every
    dimension; none with --wrapped)."""
    samplers: tuple[SamplerName, ...] = get_args(UsualSampler)
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
    ancestral = recipes.ancestral_chains(recipe)
    wrapped = recipes.wrapped_models(options, recipe)
    refusals: dict[tuple[str, int], list[recipes.Refusal]] = {}

    def chains_of(family: str, model: genae.ModelConfig) -> tuple[genae.ChainConfig, ...]:
        refusals[model.family, model.latent_dim] = recipes.refusals_of(model, labelled, data.shape)
        refused = {refusal.label for refusal in refusals[model.family, model.latent_dim]}
        chains = [one for one in labelled if one.label not in refused]
        if not (wrapped[family].has_encoder if family in wrapped else FAMILIES[family].encoder):
            chains = ancestral
        require(len(chains) > 0, f"no sampler of --samplers applies to {family}")
        return tuple(chain for _, chain in chains)

    def experiment(params: dict[str, Any]) -> genae.Experiment | None:
        family, dim = params["family"], params["latent_dim"]
        if family in wrapped:
            model: genae.ModelConfig = wrapped[family]
            if dim != model.latent_dim:
                return None
            return recipes.wrapped_experiment(recipe, wrapped[family], chains_of(family, model))
        trains = bool(options.models) or not wrapped
        if not trains or (options.models and f"{family}-{dim}" not in options.models):
            return None
        model = recipes.study_experiment(options, family, dim, (labelled[0].chain,)).model
        return recipes.study_experiment(options, family, dim, chains_of(family, model))

    def on_end(tracker: tracking.Tracker, name: str, folder: Path) -> None:
        labels = [label for label, _ in (*labelled, *ancestral)]
        recipes.write_results(tracker, name, folder, labels, refusals)
        splits = genae.load_splits(data, home(), genae.LoadOptions(shards=options.shards))
        chain, figures = labelled[0].chain, folder / "figures"
        recipes.draw_interpolations(tracker, name, splits.test, data.binarize, chain, figures)
        steps = ", ".join(map(str, recipes.INTERPOLATED_STEPS))
        print(f"drawn:  {figures} (interpolations after {steps} steps)")

    recipes.print_settings(options)
    dims = (*options.latent_dims, *(model.latent_dim for model in wrapped.values()))
    return sweep.launch(
        "mcmc_steps",
        {"family": (*options.families, *wrapped), "latent_dim": tuple(dict.fromkeys(dims))},
        experiment,
        options,
        on_end,
    )


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
