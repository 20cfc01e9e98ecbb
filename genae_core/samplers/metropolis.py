"""The encode/decode chain with a Metropolis-Hastings test, which makes the model's own joint
distribution the stationary one.

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

    and z_{t+1} = z_t otherwise.

    For every x~ the move leaves p(z|x) invariant, so the stationary distribution of (z, x) is
    p(z) p(x|z) for every encoder, and a chain that starts from the prior has it from the first
    step. This makes the sampler a control: a defect that remains is one of the model, not of the
    sampler. A good encoder has a high acceptance rate. With an encoder that is narrower than
    p(z|x), chains that start far out stay there for a long time.

    `Chain.accepted` is the share of each chain's proposals so far that were accepted. The encoder,
    the decoder and the prior need densities, and x must be drawn from p(x|z). Batch normalisation
    must use its running averages, because the statistics of a batch would couple the chains.

    Args:
        decode: "sample", the only possible value.

    Raises:
        ValueError: decode has another value; `init` raises it for a model without densities.
    """

    decode: Literal["sample"] = "sample"

    def __post_init__(self) -> None:
        require(
            self.decode == "sample",
            'decode must be "sample", because the acceptance ratio holds for x drawn from p(x|z)',
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
        q = model.encode(model.corrupt(x, draw))
        proposed = q.sample(draw)
        prior = model.latent_prior()
        numerator = sum_log_prob(prior, proposed) + sum_log_prob(model.decode(proposed), x)
        numerator = numerator + sum_log_prob(q, z)
        denominator = sum_log_prob(prior, z) + sum_log_prob(model.decode(z), x)
        denominator = denominator + sum_log_prob(q, proposed)
        # A comparison with NaN is false, which rejects a proposal that is not finite.
        accepted = draw.uniform((len(z),)).log() < numerator - denominator
        steps, share = chain.state, chain.accepted
        assert share is not None
        share = (share * steps + accepted) / (steps + 1)
        next_z = torch.where(accepted[:, None], proposed, z)
        return chain_at(model, next_z, "sample", draw, steps + 1)._replace(accepted=share)


def check_densities(model: Sampleable, chain: Chain) -> None:
    """Raise ValueError unless the encoder, the decoder and the prior have densities."""
    parts: dict[str, Callable[[], Tensor]] = {
        "encoder": lambda: model.encode(chain.x).log_prob(chain.z),
        "decoder": lambda: model.decode(chain.z).log_prob(chain.x),
        "prior": lambda: model.latent_prior().log_prob(chain.z),
    }
    for name, density in parts.items():
        try:
            density()
        except TypeError as error:
            raise ValueError(
                f"Metropolis needs a density of the {name}, which has none: {error}"
            ) from None
