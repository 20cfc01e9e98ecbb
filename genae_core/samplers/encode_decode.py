"""The Markov chain of Creswell et al. 2017, which decodes, corrupts and encodes in each step."""

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


@register("sampler.encode_decode")
@dataclass(frozen=True, kw_only=True)
class EncodeDecode:
    """z_{t+1} ~ q(z | x~), x~ ~ C(x~ | x), x ~ p(x | z_t), from z_0 ~ p(z).

    This is equation 1 of Creswell et al. 2017, section 3.1, and with corruption equation 2,
    section 3.3.

    Args:
        corrupt: Whether the model's own corruption is applied; a model without noise has none.
        decode: Whether x is the "mean" of p(x|z), as published, or a "sample" of it, which gives
            a chain with another stationary distribution.

    Raises:
        ValueError: decode has another value.
    """

    corrupt: bool = True
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
        x = model.corrupt(chain.x, draw) if self.corrupt else chain.x
        return chain_at(model, model.encode(x).sample(draw), self.decode, draw)
