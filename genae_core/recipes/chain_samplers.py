"""The samplers that mcmc_steps.py compares, and why one does not apply to a model."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from genae_core.experiment.experiment import check_sampler
from genae_core.models.config import ModelConfig
from genae_core.nets.base import Shape
from genae_core.priors.ex_post import ExPostMixture
from genae_core.recipes.datasets import Recipe
from genae_core.samplers.base import Sampler
from genae_core.samplers.config import ChainConfig, FittedPriorConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.langevin import Langevin
from genae_core.samplers.metropolis import Metropolis
from genae_core.sweep.runs import chain_label

SamplerName = Literal["encode_decode", "clean", "sample", "refined", "langevin", "metropolis"]


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
}


class ChainSetting(NamedTuple):
    """A chain that a study runs from each model, and its label in MLflow."""

    label: str
    chain: ChainConfig


class Refusal(NamedTuple):
    """A chain that does not apply to a model, and the reason."""

    label: str
    reason: str


def chain_settings(
    recipe: Recipe, samplers: Sequence[SamplerName], record: tuple[int, ...]
) -> Iterator[ChainSetting]:
    """Each sampler with each of its normalisations.

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
            yield ChainSetting(chain_label(chain), chain)


def refusals_of(
    model: ModelConfig, settings: Sequence[ChainSetting], shape: Shape
) -> list[Refusal]:
    """The chains that do not apply to a model of images of this shape."""
    reasons = [(setting.label, _reason(model, setting.chain, shape)) for setting in settings]
    return [Refusal(label, reason) for label, reason in reasons if reason is not None]


def _reason(model: ModelConfig, chain: ChainConfig, shape: Shape) -> str | None:
    """Why the chain does not apply to the model; None if it does."""
    if chain.sampler == EncodeDecode(corrupt=False) and getattr(model, "noise", 0.0) == 0:
        return "the model corrupts nothing, so this is the published chain"
    try:
        check_sampler(model, chain, shape)
    except ValueError as error:
        return str(error)
    return None
