"""One part of a code brought to the law it should have, by a critic of its own.

Shapes: B batch, D of the part.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from genae_core.config import require
from genae_core.divergences.base import Divergence
from genae_core.draw import Draw
from genae_core.models.base import AdamConfig, Batch, Phase, Player

Part = Callable[[Any, Batch, Draw], Tensor]


class Match(NamedTuple):
    """critic: of the model. codes, target: (model, batch, draw) -> the part [B, D] of the codes,
    and as many of the law."""

    name: str
    critic: Callable[[Any], nn.Module]
    divergence: Divergence
    codes: Part
    target: Part

    def critic_phase(self, model: nn.Module, adam: AdamConfig) -> Phase:
        player = Player(f"{self.name} critic", list(self.critic(model).parameters()), adam)
        project = lambda m: self.divergence.project(self.critic(m))  # noqa: E731
        return Phase(player, self.critic_loss, self.divergence.critic_steps, project)

    def critic_loss(
        self, model: nn.Module, batch: Batch, draw: Draw
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic tells the law from the codes."""
        codes = self.codes(model, batch, draw).detach()
        target = self.target(model, batch, draw)
        critic = self.critic(model)
        loss = self.divergence.critic_loss(lambda z: critic(z, draw), target, codes, draw)
        return loss, {f"{self.name}_critic": loss}

    def codes_loss(
        self, model: nn.Module, batch: Batch, draw: Draw
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The encoder answers."""
        codes = self.codes(model, batch, draw)
        critic = self.critic(model)
        loss = self.divergence.codes_loss(lambda z: critic(z, draw), codes, codes)
        return loss, {f"{self.name}_encoder": loss}


def check_critic(family: str, divergence: Divergence) -> None:
    """Raise ValueError unless the divergence has a critic."""
    require(
        divergence.critic_steps > 0,
        f"{family} needs a divergence with a critic",
        divergence=type(divergence).__name__,
    )
