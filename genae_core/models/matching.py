"""A law of codes brought to the one it should have: critic and answer, the same for every family.

Shapes: B batch, D of the codes, or of the part of them that is matched.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from genae_core.config import require
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence, Score
from genae_core.models.base import AdamConfig, Batch, Phase, Player

Part = Callable[[Any, Batch, Draw], Tensor]


class Match(NamedTuple):
    """critic: of the model, None where the divergence has none. codes, target: (model, batch,
    draw) -> [B, D], and as many of the law they should have. terms: what the critic's loss and
    the answer are called in the curves. switch: (batch) -> [B, S], seen by the critic beside them.
    """

    divergence: Divergence
    critic: Callable[[Any], nn.Module | None]
    codes: Part
    target: Part
    terms: tuple[str, str] = ("critic", "encoder")
    switch: Callable[[Batch], Tensor] | None = None

    def critic_phases(self, model: nn.Module, adam: AdamConfig) -> tuple[Phase, ...]:
        """The critic's steps; none where there is no critic."""
        critic = self.critic(model)
        if critic is None:
            return ()
        player = Player(self.terms[0].replace("_", " "), list(critic.parameters()), adam)

        def project(model: nn.Module) -> None:
            critic = self.critic(model)
            assert critic is not None
            self.divergence.project(critic)

        return (Phase(player, self.critic_loss, self.divergence.critic_steps, project),)

    def critic_loss(
        self, model: nn.Module, batch: Batch, draw: Draw
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic tells the target from the codes."""
        with torch.no_grad():
            codes = self.codes(model, batch, draw)
        target = self.target(model, batch, draw)
        score = self.score(model, batch, draw)
        loss = self.divergence.critic_loss(score, target, codes, draw)
        return loss, {self.terms[0]: loss}

    def codes_loss(
        self, model: nn.Module, batch: Batch, draw: Draw
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Whoever makes the codes answers."""
        loss = self.answer(model, batch, self.codes(model, batch, draw), draw)
        return loss, {self.terms[1]: loss}

    def answer(self, model: nn.Module, batch: Batch, codes: Tensor, draw: Draw) -> Tensor:
        """The divergence of these codes [B, D], as whoever makes them sees it."""
        # Only a divergence without a critic looks at the target here.
        alone = self.critic(model) is None
        target = self.target(model, batch, draw) if alone else codes
        return self.divergence.codes_loss(self.score(model, batch, draw), target, codes)

    def score(self, model: nn.Module, batch: Batch, draw: Draw) -> Score:
        """The critic on [B, D], beside the batch's switch where it has one."""
        critic = self.critic(model)
        if critic is None:
            return lambda z: z[:, 0]  # not looked at
        if self.switch is None:
            return lambda z: critic(z, draw)
        switch = self.switch(batch)
        return lambda z: critic(torch.cat([z, switch], 1), draw)


def check_critic(family: str, divergence: Divergence) -> None:
    """Raise ValueError unless the divergence has a critic."""
    require(
        divergence.critic_steps > 0,
        f"{family} needs a divergence with a critic",
        divergence=type(divergence).__name__,
    )
