"""The encode/decode proposal, accepted or refused: a chain whose stationary law is the model's.

Mattei & Frellsen 2018, section 3.3 (Metropolis-within-Gibbs). Shapes: B chains, D latent
dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from genae_core.config import register, require
from genae_core.distributions.rng import Draw
from genae_core.samplers.base import (
    Chain,
    Sampleable,
    Start,
    chain_at,
    start_latents,
    sum_log_prob,
)


@register("sampler.metropolis")
@dataclass(frozen=True, kw_only=True)
class Metropolis:
    """x ~ p(x|z_t), x~ ~ C(x~|x), z' ~ q(z|x~); z_{t+1} = z' with probability

        min(1, p(z') p(x|z') q(z_t|x~) / (p(z_t) p(x|z_t) q(z'|x~))),

    else z_t. Given any x~ the move leaves p(z|x) in place, so the pair (z, x) has the stationary
    law p(z) p(x|z), whatever the encoder; from the prior it is there at once. So it is a control:
    what it cannot improve is not the sampler's fault. A good encoder is accepted often; one that
    is narrower than p(z|x) leaves chains that start far out stuck there for long.

    `Chain.accepted` is the share of each chain's proposals so far that were accepted. It needs
    densities (ValueError for an encoder or a prior without one), x drawn from p(x|z), and
    running statistics, as a batch's own would couple the chains.
    """

    decode: Literal["sample"] = "sample"

    def __post_init__(self) -> None:
        require(
            self.decode == "sample",
            'decode must be "sample": the ratio is of x drawn from p(x|z)',
            decode=self.decode,
        )

    @property
    def starts_from(self) -> Literal["prior", "images"]:
        return "prior"

    @property
    def couples(self) -> bool:
        return False

    def init(self, model: Sampleable, start: Start, draw: Draw) -> Chain:
        chain = chain_at(model, start_latents(model, start, draw), "sample", draw, state=0)
        check_densities(model, chain)
        return chain._replace(accepted=torch.zeros(len(chain.z), device=chain.z.device))

    def step(self, model: Sampleable, chain: Chain, draw: Draw) -> Chain:
        z, x = chain.z, chain.x
        distribution = model.encode(model.corrupt(x, draw))
        proposed = distribution.sample(draw)
        prior = model.latent_prior()
        gain = (
            sum_log_prob(prior, proposed)
            + sum_log_prob(model.decode(proposed), x)
            + sum_log_prob(distribution, z)
        )
        loss = (
            sum_log_prob(prior, z)
            + sum_log_prob(model.decode(z), x)
            + sum_log_prob(distribution, proposed)
        )
        # A proposal that is not finite is refused: a comparison with NaN is false.
        taken = draw.uniform((len(z),)).log() < gain - loss
        steps, accepted = chain.state, chain.accepted
        assert accepted is not None
        share = (accepted * steps + taken) / (steps + 1)
        moved = chain_at(
            model, torch.where(taken[:, None], proposed, z), "sample", draw, steps + 1
        )
        return moved._replace(accepted=share)


def check_densities(model: Sampleable, chain: Chain) -> None:
    """Raise ValueError unless encoder, decoder and latent law have densities."""
    parts: dict[str, Callable[[], Tensor]] = {
        "encoder": lambda: model.encode(chain.x).log_prob(chain.z),
        "decoder": lambda: model.decode(chain.z).log_prob(chain.x),
        "latent law": lambda: model.latent_prior().log_prob(chain.z),
    }
    for name, density in parts.items():
        try:
            density()
        except TypeError as error:
            raise ValueError(
                f"Metropolis needs a density of the {name}, and there is none: {error}"
            ) from None
