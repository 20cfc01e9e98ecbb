"""Samples near the data: real images, encoded and decoded (Creswell et al. 2017, section 1,
Approach 1)."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from genae_core.config import register, require
from genae_core.distributions.rng import Draw
from genae_core.samplers.base import (
    Chain,
    Sampleable,
    Start,
    chain_at,
    check_decode,
    start_latents,
)


@register("sampler.reconstruction")
@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """x0 ~ P(x), z ~ q(z|x0), x1 ~ p(x|z). Every step is a new draw from the same images.

    The model's own corruption is applied to the images, as in the training.

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
        return "images"

    @property
    def couples(self) -> bool:
        return True

    def init(self, model: Sampleable, start: Start, draw: Draw) -> Chain:
        is_images = isinstance(start, Tensor) and start.ndim == 4
        require(is_images, "reconstruction starts from images [B, C, H, W]", start=start)
        return chain_at(model, start_latents(model, start, draw), self.decode, draw, state=start)

    def step(self, model: Sampleable, chain: Chain, draw: Draw) -> Chain:
        return self.init(model, chain.state, draw)
