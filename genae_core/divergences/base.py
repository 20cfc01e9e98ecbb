"""What a divergence gives: how far the law q of the codes is from the target's p, as a signal.

A critic scores latent vectors; it is trained to tell target from codes, and whoever makes the
codes is trained on its answer. A divergence that needs no critic says so by `critic_steps` 0.
Shapes: B of a batch, D latent dimension.
"""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from genae_core.distributions.rng import Draw

Score = Callable[[Tensor], Tensor]  # latent vectors [B, D] -> unbounded scores [B]


class Divergence(Protocol):
    """A frozen dataclass of the divergence's settings. Losses are scalars, and pure."""

    @property
    def critic_steps(self) -> int:
        """Steps of the critic before each answer of the codes; 0 where there is no critic."""

    def critic_loss(self, score: Score, target: Tensor, codes: Tensor, draw: Draw) -> Tensor:
        """What the critic minimises. target, codes: [B, D], without gradients."""

    def codes_loss(self, score: Score, target: Tensor, codes: Tensor) -> Tensor:
        """What whoever makes the codes minimises."""

    def project(self, critic: nn.Module) -> None:
        """Put the critic back into the set that the divergence allows, after each of its steps."""
