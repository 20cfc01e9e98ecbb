"""Divergences: losses that move the distribution q of the codes towards the target p.

A critic scores latent vectors. It is trained to separate the target from the codes, and the
network that makes the codes is trained on its scores. A divergence without a critic has
`critic_steps` 0. The codes of a model in image space are the generated images: what is written
[B, D] here is then [B, C, H, W]. Shapes: B batch, D latent dimension.
"""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from genae_core.distributions.rng import Draw

# Maps latent vectors [B, D] to unbounded scores [B].
Score = Callable[[Tensor], Tensor]


class Divergence(Protocol):
    """A divergence between the target p and the distribution q of the codes.

    It is a frozen dataclass of its settings. Its losses are pure.
    """

    @property
    def critic_steps(self) -> int:
        """The number of critic steps before each step of the codes; 0 without a critic."""

    def critic_loss(self, score: Score, target: Tensor, codes: Tensor, draw: Draw) -> Tensor:
        """The loss that the critic minimises.

        Args:
            score: The critic.
            target: Samples of p, [B, D], without gradients.
            codes: Samples of q, [B, D], without gradients.
            draw: The source of randomness.

        Returns:
            A scalar.

        Raises:
            TypeError: The divergence has no critic.
        """

    def codes_loss(self, score: Score, target: Tensor, codes: Tensor) -> Tensor:
        """The loss that the network that makes the codes minimises.

        Args:
            score: The critic.
            target: Samples of p, [B, D].
            codes: Samples of q, [B, D], with gradients.

        Returns:
            A scalar.
        """

    def target_loss(self, score: Score, target: Tensor) -> Tensor:
        """The loss that a network that makes the target minimises against the same critic.

        Both sides of a BiGAN are trained: its target is made by the encoder.

        Args:
            score: The critic.
            target: Samples of p, [B, D], with gradients.

        Returns:
            A scalar.

        Raises:
            TypeError: The divergence has no critic.
        """

    def project(self, critic: nn.Module) -> None:
        """Project the critic onto the functions that the divergence allows.

        It is called after each step of the critic.

        Args:
            critic: The critic, which is changed in place.
        """
