"""What do k steps of each sampler do to the samples of each model?

Every cell is trained once a seed and sampled in many ways:

  encode_decode  the published chain, from the prior (Creswell et al. 2017), normalised by the
                 sub-batch as they do, and by the running averages of training
  clean          the same without the corruption, of models that have one
  sample         the same, encoding samples of p(x|z) instead of its mean
  refined        the same chain from a Gaussian mixture fitted to the codes
  langevin       Langevin moves on that mixture, from N(0, I)
  metropolis     the encode/decode proposal, accepted or refused: a control, whose samples are the
                 model's own at every step

  python sweeps/mcmc_steps.py --dataset mnist --data-root DIR
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from genae_core.config import require
from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.data.load import load_splits
from genae_core.experiment.experiment import Experiment, check_sampler
from genae_core.models.config import ModelConfig
from genae_core.priors.ex_post import ExPostMixture
from genae_core.recipes.chain_table import Setting, conclude
from genae_core.recipes.pictures import STEPS, draw_interpolations
from genae_core.recipes.recipes import StudyOptions, chain_of, experiment, recipe
from genae_core.samplers.base import Sampler
from genae_core.samplers.config import ChainConfig, FittedPriorConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.langevin import Langevin
from genae_core.samplers.metropolis import Metropolis
from genae_core.sweep.launcher import launch
from genae_core.sweep.runs import chain_label
from genae_core.tracking.mlflow_store import Tracker

RECORD = (0, 1, 2, 3, 5, 10, 20, 50)

SamplerName = Literal["encode_decode", "clean", "sample", "refined", "langevin", "metropolis"]
SAMPLERS: dict[SamplerName, tuple[Sampler, FittedPriorConfig | None, tuple[str, ...]]] = {
    "encode_decode": (EncodeDecode(), None, ("batch", "running")),
    "clean": (EncodeDecode(corrupt=False), None, ("batch",)),
    "sample": (EncodeDecode(decode="sample"), None, ("running",)),
    "refined": (EncodeDecode(), ExPostMixture(), ("batch", "running")),
    "langevin": (Langevin(), ExPostMixture(), ("running",)),
    "metropolis": (Metropolis(), None, ("running",)),
}


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the training; each cell is trained once with each."""
    latent_dims: tuple[int, ...] = (10, 200)
    """Latent dimensions to compare."""
    models: tuple[str, ...] = ()
    """Of these only some, e.g. vae-10 daae-200 (default: every family at every dimension)."""
    samplers: tuple[SamplerName, ...] = get_args(SamplerName)
    """Samplers to compare; one that does not apply to a model is listed as n/a."""
    record: tuple[int, ...] = RECORD
    """Steps at which the chains are looked at, ascending from 0."""


def settings(options: Options) -> Iterator[Setting]:
    """Every sampler with each of its normalisations."""
    found = recipe(options)
    for name in options.samplers:
        sampler, fitted_prior, modes = SAMPLERS[name]
        for mode in modes:
            chain = chain_of(
                found,
                sampler=sampler,
                fitted_prior=fitted_prior,
                batch_norm=mode,
                record=options.record,
            )
            yield Setting(name, chain_label(chain), chain)


def refusal(model: ModelConfig, chain: ChainConfig, shape: tuple[int, int, int]) -> str | None:
    """Why this chain is none of this model's, if it is not."""
    if chain.sampler == EncodeDecode(corrupt=False) and getattr(model, "noise", 0.0) == 0:
        return "the model corrupts nothing, so this is the published chain"
    try:
        check_sampler(model, chain, shape)
    except ValueError as error:
        return str(error)
    return None


def main(options: Options) -> int:
    """The grid family x latent dimension, each cell with all samplers that apply to it."""
    require(len(options.samplers) > 0, "--samplers must name at least one", samplers=())
    data = recipe(options).data
    every = list(settings(options))
    refused: dict[tuple[str, int], list[tuple[Setting, str]]] = {}

    known = {f"{family}-{dim}" for family in options.families for dim in options.latent_dims}
    require(
        known.issuperset(options.models),
        f"--models must be of {', '.join(sorted(known))}",
        models=options.models,
    )

    def cell(params: dict[str, Any]) -> Experiment | None:
        family, dim = params["family"], params["latent_dim"]
        if options.models and f"{family}-{dim}" not in options.models:
            return None
        model = experiment(options, family, dim, (every[0].chain,)).model
        reasons = [(setting, refusal(model, setting.chain, data.shape)) for setting in every]
        refused[(model.family, dim)] = [(s, reason) for s, reason in reasons if reason is not None]
        chains = tuple(setting.chain for setting, reason in reasons if reason is None)
        require(len(chains) > 0, f"no sampler of --samplers applies to {family}")
        return experiment(options, family, dim, chains)

    def on_end(tracker: Tracker, sweep: str, folder: Path) -> None:
        conclude(tracker, sweep, folder, every, refused)
        splits = load_splits(data, home(), options.shards)
        drawn = draw_interpolations(
            tracker, sweep, splits.test, data.binarize, every[0].chain, folder / "figures"
        )
        print(f"drawn:  {drawn} (interpolations after {', '.join(map(str, STEPS))} steps)")

    axes = {"family": options.families, "latent_dim": options.latent_dims}
    return launch("mcmc_steps", axes, cell, options, on_end)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
