"""The usual way to sample: draw z from the prior and decode it (Creswell et al. 2017, section 1,
Approach 2)."""

from dataclasses import dataclass
from typing import Literal

from genae_core.config import register
from genae_core.distributions.rng import Draw
from genae_core.samplers.base import (
    Chain,
    Sampleable,
    Start,
    chain_at,
    check_decode,
    start_latents,
)


@register("sampler.ancestral")
@dataclass(frozen=True, kw_only=True)
class Ancestral:
    """z ~ p(z), x ~ p(x|z). Every step is a new, independent draw.

    Args:
        decode: Whether x is the "mean" of p(x|z) or a "sample" of it.

    Raises:
        ValueError: decode has another value.
    """

    decode: Literal["mean", "sample"] = "mean"

    def __post_init__(self) -> None:
        check_decode(self.decode)

    @property
    def starts_from(self) -> Literal["prior", "images"]:
        return "prior"

    @property
    def couples(self) -> bool:
        return True

    def init(self, model: Sampleable, start: Start, draw: Draw) -> Chain:
        return chain_at(model, start_latents(model, start, draw), self.decode, draw)

    def step(self, model: Sampleable, chain: Chain, draw: Draw) -> Chain:
        z = model.latent_prior().sample(draw, (len(chain.z),))
        return chain_at(model, z, self.decode, draw)
