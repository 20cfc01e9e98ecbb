"""The Metropolis-adjusted Langevin algorithm in the latent space (Roberts & Tweedie 1996).

Its target is the density of the model's prior. Shapes: B chains, D latent dimension.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from genae_core.config import register, require, require_finite, require_int, require_positive_int
from genae_core.distributions.base import Distribution
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

# The acceptance rate at which the algorithm is fastest in many dimensions (Roberts & Rosenthal
# 1998, theorem 2).
OPTIMAL_ACCEPTANCE = 0.574
DECAY = 0.6  # At move t, log h changes by at most t^-0.6.


class _State(NamedTuple):
    """The state of B chains.

    Attributes:
        log_density: log p(z), [B].
        gradient: The gradient of log p(z), [B, D].
        log_size: log h, a scalar.
        moves: The number of moves so far.
    """

    log_density: Tensor
    gradient: Tensor
    log_size: Tensor
    moves: int


@register("sampler.langevin")
@dataclass(frozen=True, kw_only=True)
class Langevin:
    """z' = z + h^2/2 grad log p(z) + h eps, eps ~ N(0, I), accepted with probability

        min(1, p(z') N(z; m(z'), h^2 I) / (p(z) N(z'; m(z), h^2 I))),  m(z) = z + h^2/2 grad log p,

    where p is the density of the prior: a flow, a VampPrior, or `ChainConfig.fitted_prior`.
    A chain starts from N(0, I) and not from p. Its stationary distribution is p, so at best its
    samples become as good as the exact draws of `Ancestral`.

    Args:
        moves: The number of Langevin moves in a step of the chain. Only the last z is decoded.
        size: The first value of h.
        adapt: During the first `adapt` moves, log h follows the acceptance rate of the sub-batch
            towards 0.574. Then h is constant.
        decode: Whether x is the "mean" of p(x|z) or a "sample" of it.

    Raises:
        ValueError: A value is out of range. `init` also raises it for a prior without a density.
    """

    moves: int = 10
    size: float = 0.5
    adapt: int = 100
    decode: Literal["mean", "sample"] = "mean"

    def __post_init__(self) -> None:
        require_positive_int(moves=self.moves)
        require_int(adapt=self.adapt)
        require(self.adapt >= 0, "adapt must be >= 0", adapt=self.adapt)
        require_finite(0, size=self.size)
        require(self.size > 0, "size must be > 0", size=self.size)
        check_decode(self.decode)

    @property
    def starts_from(self) -> Literal["prior", "images"]:
        return "prior"

    @property
    def couples(self) -> bool:
        return True

    def init(self, model: Sampleable, start: Start, draw: Draw) -> Chain:
        distribution = model.latent_prior()
        if isinstance(start, int):
            z = draw.normal((start, distribution.mean.shape[-1]))
        else:
            z = start_latents(model, start, draw)
        try:
            log_density, gradient = score(distribution, z)
        except TypeError as error:
            kind = type(distribution).__name__
            raise ValueError(
                f"Langevin needs a density of z, and {kind} has none: {error}"
            ) from None
        log_size = torch.tensor(self.size, device=z.device).log()
        state = _State(log_density, gradient, log_size, 0)
        accepted = torch.zeros(len(z), device=z.device)
        chain = chain_at(model, z, self.decode, draw, state=state)
        return chain._replace(accepted=accepted)

    def step(self, model: Sampleable, chain: Chain, draw: Draw) -> Chain:
        distribution = model.latent_prior()
        z, state, fraction = chain.z, chain.state, chain.accepted
        assert fraction is not None
        for _ in range(self.moves):
            z, state, accepted = self._move(distribution, z, state, draw)
            fraction = fraction + (accepted.float() - fraction) / state.moves
        next_chain = chain_at(model, z, self.decode, draw, state=state)
        return next_chain._replace(accepted=fraction)

    def _move(
        self, distribution: Distribution, z: Tensor, state: _State, draw: Draw
    ) -> tuple[Tensor, _State, Tensor]:
        """The next z [B, D], its state, and whether each chain accepted its proposal, bool [B]."""
        size = state.log_size.exp()
        eps = draw.normal(tuple(z.shape))
        proposed = z + size.square() / 2 * state.gradient + size * eps
        log_density, gradient = score(distribution, proposed)
        back = (z - proposed - size.square() / 2 * gradient) / size
        log_ratio = log_density - state.log_density
        log_ratio = log_ratio + 0.5 * (eps.square() - back.square()).sum(1)
        # A comparison with NaN is false, so a proposal that is not finite is rejected.
        accepted = draw.uniform((len(z),)).log() < log_ratio
        log_size, moves = state.log_size, state.moves + 1
        if moves <= self.adapt:
            log_size = log_size + (accepted.float().mean() - OPTIMAL_ACCEPTANCE) / moves**DECAY
        row = accepted[:, None]
        next_state = _State(
            log_density=torch.where(accepted, log_density, state.log_density),
            gradient=torch.where(row, gradient, state.gradient),
            log_size=log_size,
            moves=moves,
        )
        return torch.where(row, proposed, z), next_state, accepted


def score(distribution: Distribution, z: Tensor) -> tuple[Tensor, Tensor]:
    """log p(z) in nats, [B], and its gradient, [B, D]. The gradient of a constant density is 0."""
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        log_density = sum_log_prob(distribution, leaf)
        total: Any = log_density.sum()
        if not total.requires_grad:
            return log_density, torch.zeros_like(z)
        (gradient,) = torch.autograd.grad(total, leaf)
    return log_density.detach(), gradient
