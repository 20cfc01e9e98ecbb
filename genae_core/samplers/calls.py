"""How many calls of the networks a sampler needs for one sample.

Shapes: B chains, D latent dimension, C channels, H rows, W columns.
"""

from typing import Any, NamedTuple

from torch import Tensor

from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw
from genae_core.nets.base import sampling_mode
from genae_core.samplers.base import DecoderAlone, ModelWithPrior, has_encoder
from genae_core.samplers.config import ChainConfig

CHAINS = 2  # batch normalisation refuses a batch of one


class Calls(NamedTuple):
    """The calls of the decoder and of the encoder for one chain, each of one image or code.

    Attributes:
        start: The calls of step 0.
        step: The calls of every later step.
    """

    start: float
    step: float

    def until(self, step: int) -> float:
        """The calls of a chain from its start to a step."""
        return self.start + step * self.step


def count_calls(
    model: Any,  # an nn.Module that is Sampleable
    chain: ChainConfig,
    fitted_prior: Distribution | None = None,
) -> Calls:
    """Count the calls of a sampler that starts from the prior, by two chains of one step.

    Args:
        model: The model.
        chain: The chain's config.
        fitted_prior: The fitted prior, if the config has one.

    Returns:
        The mean calls of one chain.
    """
    assert chain.sampler.starts_from == "prior"
    target = model if has_encoder(model) else DecoderAlone(model)
    counted = _Counted(target if fitted_prior is None else ModelWithPrior(target, fitted_prior))
    device = target.latent_prior().mean.device
    draw = Draw(chain.seed, "counted", device=device)
    with sampling_mode(model, chain.batch_norm):
        first = chain.sampler.init(counted, CHAINS, draw)
        start, counted.calls = counted.calls, 0
        chain.sampler.step(counted, first, draw)
    return Calls(start / CHAINS, counted.calls / CHAINS)


class _Counted:
    """A model that counts the rows that are decoded and encoded."""

    def __init__(self, model: Any) -> None:
        self.model, self.calls = model, 0
        self.latent_prior, self.corrupt = model.latent_prior, model.corrupt

    def decode(self, z: Tensor) -> Distribution:
        self.calls += len(z)
        distribution: Distribution = self.model.decode(z)
        return distribution

    def encode(self, x: Tensor) -> Distribution:
        self.calls += len(x)
        distribution: Distribution = self.model.encode(x)
        return distribution
