"""The least-squares adversary (Mao et al. 2017, eq. 2 with a = 0, b = c = 1)."""

from dataclasses import dataclass

from torch import Tensor, nn

from genae_core.config import register, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Score


@register("divergence.least_squares")
@dataclass(frozen=True, kw_only=True)
class LeastSquares:
    """The critic learns scores of 1 on the target and of 0 on the codes.

    The best critic is v = p / (p + q). Its loss is 1/2 E_q[p / (p + q)], which is 1/4 if p = q,
    and less otherwise.

    Args:
        critic_steps: The number of critic steps before each step of the codes.

    Raises:
        ValueError: critic_steps is not a whole number >= 1.
    """

    critic_steps: int = 1

    def __post_init__(self) -> None:
        require_positive_int(critic_steps=self.critic_steps)

    def critic_loss(self, score: Score, target: Tensor, codes: Tensor, draw: Draw) -> Tensor:
        """1/2 E_p[(v - 1)^2] + 1/2 E_q[v^2]."""
        return 0.5 * (score(target) - 1).square().mean() + 0.5 * score(codes).square().mean()

    def codes_loss(self, score: Score, target: Tensor, codes: Tensor) -> Tensor:
        """1/2 E_q[(v - 1)^2]."""
        return 0.5 * (score(codes) - 1).square().mean()

    def target_loss(self, score: Score, target: Tensor) -> Tensor:
        """1/2 E_p[v^2]."""
        return 0.5 * score(target).square().mean()

    def project(self, critic: nn.Module) -> None:
        """Every critic is allowed, so nothing changes."""
