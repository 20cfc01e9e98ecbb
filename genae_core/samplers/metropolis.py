"""The encode/decode chain with a Metropolis-Hastings test (Mattei & Frellsen 2018, section 3.3,
Metropolis-within-Gibbs).

The test makes the model's own joint distribution stationary.
Shapes: B chains, D latent dimension.
"""

from collections.abc import Callable, Sequence
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

    For every x~, the move leaves p(z|x) invariant. So the stationary distribution of (z, x) is
    p(z) p(x|z) for every encoder, and a chain that starts from the prior has this distribution
    from the first step on. This makes the sampler a control: a defect that remains comes from the
    model and not from the sampler. A good encoder has a high acceptance rate. If the encoder is
    narrower than p(z|x), chains that start far from its mean stay there for a long time.

    The encoder, the decoder and the prior need densities, and x must be drawn from p(x|z). Batch
    normalisation must use its running averages, because the statistics of a batch would make the
    chains depend on one another.

    Args:
        decode: "sample", the only possible value.

    Raises:
        ValueError: decode has another value. `init` also raises it for a model without densities.
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
        # A comparison with NaN is false, so a proposal that is not finite is rejected.
        accepted = draw.uniform((len(z),)).log() < numerator - denominator
        num_steps, fraction = chain.state, chain.accepted
        assert fraction is not None
        fraction = (fraction * num_steps + accepted) / (num_steps + 1)
        next_z = torch.where(accepted[:, None], proposed, z)
        next_chain = chain_at(model, next_z, "sample", draw, state=num_steps + 1)
        return next_chain._replace(accepted=fraction)


def check_densities(
    model: Sampleable, chain: Chain, needed: Sequence[str] = ("encoder", "decoder", "prior")
) -> None:
    """Raise ValueError unless the encoder, the decoder and the prior have densities.

    needed: those of the three that must have one.
    """
    parts: dict[str, Callable[[], Tensor]] = {
        "encoder": lambda: model.encode(chain.x).log_prob(chain.z),
        "decoder": lambda: model.decode(chain.z).log_prob(chain.x),
        "prior": lambda: model.latent_prior().log_prob(chain.z),
    }
    for name in needed:
        try:
            parts[name]()
        except TypeError as error:
            raise ValueError(
                f"Metropolis needs a density of the {name}, which has none: {error}"
            ) from None
