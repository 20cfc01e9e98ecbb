"""Metropolis-Hastings on the codes, with the encode/decode step as its proposal.

Its target is the density of the model's prior, and so of a prior that is fitted to the codes.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from genae_core.config import register
from genae_core.distributions.rng import Draw
from genae_core.samplers.base import (
    Chain,
    Sampleable,
    Start,
    chain_at,
    check_decode,
    start_latents,
    sum_log_prob,
)
from genae_core.samplers.metropolis import check_densities


@register("sampler.metropolis_codes")
@dataclass(frozen=True, kw_only=True)
class MetropolisCodes:
    """z' ~ q(z | d(z_t)) with d(z) = E[p(x|z)], accepted with probability

        min(1, p(z') q(z_t | d(z')) / (p(z_t) q(z' | d(z_t)))),

    where p is the density of the prior, or of `ChainConfig.fitted_prior`: its stationary
    distribution is p. `Metropolis` targets the joint p(z) p(x|z) instead. A chain starts from p,
    so its samples are those of the plain draws at every step: what is gained over the unadjusted
    chain is that the steps do not undo a good start.

    Args:
        decode: Whether x is the "mean" of p(x|z) or a "sample" of it. The mean is encoded.

    Raises:
        ValueError: decode has another value. `init` also raises it if the encoder or the prior has
            no density.
    """

    decode: Literal["mean", "sample"] = "mean"

    def __post_init__(self) -> None:
        check_decode(self.decode)

    @property
    def starts_from(self) -> Literal["prior", "images"]:
        return "prior"

    @property
    def couples(self) -> bool:
        return False

    def init(self, model: Sampleable, start: Start, draw: Draw) -> Chain:
        chain = chain_at(model, start_latents(model, start, draw), self.decode, draw, state=0)
        check_densities(model, chain, ("encoder", "prior"))
        return chain._replace(accepted=torch.zeros(len(chain.z), device=chain.z.device))

    def step(self, model: Sampleable, chain: Chain, draw: Draw) -> Chain:
        z, prior = chain.z, model.latent_prior()
        forward = model.encode(chain.mean)
        proposed = chain_at(model, forward.sample(draw), self.decode, draw)
        backward = model.encode(proposed.mean)
        log_ratio = sum_log_prob(prior, proposed.z) + sum_log_prob(backward, z)
        log_ratio = log_ratio - sum_log_prob(prior, z) - sum_log_prob(forward, proposed.z)
        # A comparison with NaN is false, so a proposal that is not finite is rejected.
        accepted = draw.uniform((len(z),)).log() < log_ratio
        row = accepted[:, None, None, None]
        num_steps, fraction = chain.state, chain.accepted
        assert fraction is not None
        return Chain(
            z=torch.where(accepted[:, None], proposed.z, z),
            x=torch.where(row, proposed.x, chain.x),
            mean=torch.where(row, proposed.mean, chain.mean),
            state=num_steps + 1,
            accepted=(fraction * num_steps + accepted) / (num_steps + 1),
        )
