"""The samplers that mcmc_steps.py compares, and the reasons why one does not fit a model."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from genae_core.experiment.experiment import sampler_obstacles
from genae_core.models.config import ModelConfig
from genae_core.nets.base import Shape
from genae_core.priors.ex_post import ExPostMixture
from genae_core.priors.fitted_flow import FittedFlow
from genae_core.priors.resampled_mixture import ResampledMixture
from genae_core.priors.selected_mixture import SelectedMixture
from genae_core.recipes.datasets import Recipe
from genae_core.recipes.options import SamplerName
from genae_core.samplers.annealed import Annealed
from genae_core.samplers.base import Sampler
from genae_core.samplers.config import ChainConfig, FittedPriorConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.langevin import Langevin
from genae_core.samplers.metropolis import Metropolis
from genae_core.samplers.metropolis_codes import MetropolisCodes
from genae_core.sweep.runs import chain_label


class SamplerSettings(NamedTuple):
    """A sampler, the distribution that its chains start from, and its batch normalisations."""

    sampler: Sampler
    fitted_prior: FittedPriorConfig | None
    batch_norms: tuple[Literal["batch", "running"], ...]


SAMPLERS: dict[SamplerName, SamplerSettings] = {
    "encode_decode": SamplerSettings(EncodeDecode(), None, ("batch", "running")),
    "clean": SamplerSettings(EncodeDecode(corrupt=False), None, ("batch",)),
    "sample": SamplerSettings(EncodeDecode(decode="sample"), None, ("running",)),
    "refined": SamplerSettings(EncodeDecode(), ExPostMixture(), ("batch", "running")),
    "langevin": SamplerSettings(Langevin(), ExPostMixture(), ("running",)),
    "metropolis": SamplerSettings(Metropolis(), None, ("running",)),
    "annealed": SamplerSettings(Annealed(), None, ("batch",)),
    "selected": SamplerSettings(EncodeDecode(), SelectedMixture(), ("batch",)),
    "selected_clean": SamplerSettings(EncodeDecode(corrupt=False), SelectedMixture(), ("batch",)),
    "selected_metropolis": SamplerSettings(MetropolisCodes(), SelectedMixture(), ("running",)),
    "resampled": SamplerSettings(EncodeDecode(corrupt=False), ResampledMixture(), ("batch",)),
    "fitted_flow": SamplerSettings(EncodeDecode(corrupt=False), FittedFlow(), ("batch",)),
}


class LabelledChain(NamedTuple):
    """The config of a chain that a study runs over each model, and its label in MLflow."""

    label: str
    chain: ChainConfig


class Refusal(NamedTuple):
    """A chain that does not apply to a model, and the reason."""

    label: str
    reason: str


def labelled_chains(
    recipe: Recipe, samplers: Sequence[SamplerName], record: tuple[int, ...]
) -> Iterator[LabelledChain]:
    """Yield the chain config of each sampler with each of its batch normalisations.

    Args:
        recipe: The dataset's recipe.
        samplers: Names of the samplers.
        record: The steps at which the chains are measured.
    """
    for name in samplers:
        sampler, fitted_prior, batch_norms = SAMPLERS[name]
        for batch_norm in batch_norms:
            chain = recipe.chain(
                sampler=sampler, fitted_prior=fitted_prior, batch_norm=batch_norm, record=record
            )
            yield LabelledChain(chain_label(chain), chain)


def refusals_of(
    model: ModelConfig, chains: Sequence[LabelledChain], shape: Shape
) -> list[Refusal]:
    """The chains that do not apply to a model of images of this shape."""
    obstacles = sampler_obstacles(model, (chain for _, chain in chains), shape)
    refusals = []
    for label, chain in chains:
        reason = obstacles.get(chain)
        if reason is None and getattr(model, "noise", 0.0) == 0:
            reason = _needs_noise(chain, [one.chain for one in chains])
        if reason is not None:
            refusals.append(Refusal(label, reason))
    return refusals


def _needs_noise(chain: ChainConfig, chains: Sequence[ChainConfig]) -> str | None:
    """Why a chain says nothing about a model that corrupts nothing; None if it does.

    chains: All chains that would run over the model.
    """
    if isinstance(chain.sampler, Annealed):
        return "the model was not trained to remove noise"
    if chain.sampler == EncodeDecode(corrupt=False):
        published = replace(chain, sampler=EncodeDecode())
        if chain.fitted_prior is None or published in chains:
            return "the model corrupts nothing, so this is the published chain"
    return None
