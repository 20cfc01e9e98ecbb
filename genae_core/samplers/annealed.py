"""A denoising chain whose noise falls from step to step.

It joins the walkback of a denoising autoencoder (Bengio et al. 2013) with the falling noise of
annealed Langevin sampling (Song & Ermon 2019, section 4).
"""

from dataclasses import dataclass
from typing import Literal

from genae_core.config import register, require, require_finite, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.samplers.base import (
    Chain,
    Sampleable,
    Start,
    chain_at,
    check_decode,
    start_latents,
)


@register("sampler.annealed")
@dataclass(frozen=True, kw_only=True)
class Annealed:
    """z_{t+1} ~ q(z | x + s_t eps), x = E[p(x | z_t)], s_t = noise max(0, 1 - t / steps).

    While the noise falls, the chain is not homogeneous, and so it has no stationary distribution.
    From step `steps` on it is `EncodeDecode(corrupt=False)` and has the stationary distribution of
    that chain. It needs no noise of the model's own, but only a model that was trained to denoise
    knows what to do with it.

    Args:
        noise: The standard deviation of the noise in the first step, in units of pixels.
        steps: The step from which on there is no noise.
        decode: Whether x is the "mean" of p(x|z) or a "sample" of it.

    Raises:
        ValueError: A value is out of range.
    """

    noise: float = 0.5
    steps: int = 5
    decode: Literal["mean", "sample"] = "mean"

    def __post_init__(self) -> None:
        require_finite(0, noise=self.noise)
        require(self.noise > 0, "noise must be > 0", noise=self.noise)
        require_positive_int(steps=self.steps)
        check_decode(self.decode)

    @property
    def starts_from(self) -> Literal["prior", "images"]:
        return "prior"

    @property
    def couples(self) -> bool:
        return True

    def init(self, model: Sampleable, start: Start, draw: Draw) -> Chain:
        return chain_at(model, start_latents(model, start, draw), self.decode, draw, state=0)

    def step(self, model: Sampleable, chain: Chain, draw: Draw) -> Chain:
        sd = self.noise * max(0.0, 1 - chain.state / self.steps)
        x = chain.x + sd * draw.normal(tuple(chain.x.shape))
        z = model.encode(x).sample(draw)
        return chain_at(model, z, self.decode, draw, state=chain.state + 1)
