"""Losses that move the distribution of the codes to a target, by a critic or by moments.

The codes of a model in image space are the images it generates, [B, C, H, W].
Shapes: B batch, D dimension of the codes or of the part of them that is matched.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from genae_core.config import require
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence, Score
from genae_core.models.base import Autoencoder, Batch, Phase, Player
from genae_core.models.optimizers import OptimizerConfig
from genae_core.nets.mlp import CriticConfig

Sample = Callable[[Any, Batch, Draw], Tensor]


class Matching(NamedTuple):
    """The losses of the critic and of the part of the model that makes the codes.

    Attributes:
        divergence: The divergence between the two distributions.
        critic: Returns the critic of a model, or None if the divergence has no critic.
        codes: Computes codes(model, batch, draw), [B, D].
        target: Draws target(model, batch, draw), [B, D], from the target distribution.
        terms: The names of the critic's loss and of the codes' loss in the loss curve.
        switch: Computes switch(batch), [B, S], which the critic receives together with the codes.
            With None, the critic receives the codes only.
    """

    divergence: Divergence
    critic: Callable[[Any], nn.Module | None]
    codes: Sample
    target: Sample
    terms: tuple[str, str] = ("critic", "encoder")
    switch: Callable[[Batch], Tensor] | None = None

    def critic_phases(self, model: nn.Module, optimizer: OptimizerConfig) -> tuple[Phase, ...]:
        """A tuple with the phase that trains the critic; it is empty if there is no critic."""
        critic = self.critic(model)
        if critic is None:
            return ()
        player = Player(self.terms[0].replace("_", " "), list(critic.parameters()), optimizer)

        def project(model: nn.Module) -> None:
            critic = self.critic(model)
            assert critic is not None
            self.divergence.project(critic)

        return (Phase(player, self.critic_loss, self.divergence.critic_steps, project),)

    def critic_loss(
        self, model: nn.Module, batch: Batch, draw: Draw
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the critic, which learns to distinguish the target from the codes."""
        with torch.no_grad():
            codes = self.codes(model, batch, draw)
            target = self.target(model, batch, draw)
        score = self.score(model, batch, draw)
        loss = self.divergence.critic_loss(score, target, codes, draw)
        return loss, {self.terms[0]: loss}

    def codes_loss(
        self, model: nn.Module, batch: Batch, draw: Draw
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the part of the model that makes the codes."""
        loss = self.divergence_of(model, batch, self.codes(model, batch, draw), draw)
        return loss, {self.terms[1]: loss}

    def divergence_of(self, model: nn.Module, batch: Batch, codes: Tensor, draw: Draw) -> Tensor:
        """The divergence of the codes [B, D] from the target, as a loss of the codes."""
        # A divergence with a critic does not use the target here, so no samples of it are drawn.
        has_critic = self.critic(model) is not None
        target = codes if has_critic else self.target(model, batch, draw)
        return self.divergence.codes_loss(self.score(model, batch, draw), target, codes)

    def score(self, model: nn.Module, batch: Batch, draw: Draw) -> Score:
        """The critic as a function of the codes [B, D]; the switch of the batch is fixed."""
        critic = self.critic(model)
        if critic is None:
            # A divergence without a critic does not use the score.
            return lambda z: z.flatten(1)[:, 0]
        if self.switch is None:
            return lambda z: critic(z, draw)
        switch = self.switch(batch)
        return lambda z: critic(torch.cat([z, switch], 1), draw)


def sample_codes(model: Autoencoder, batch: Batch, draw: Draw) -> Tensor:
    """z ~ q(z|x~), [B, D], for the corrupted images x~ of the batch."""
    return model.encode(model.corrupt(batch.x, draw)).sample(draw)


def sample_prior(model: Any, batch: Batch, draw: Draw) -> Tensor:
    """z ~ p(z), [B, D], from the model's own prior."""
    z: Tensor = model.prior.sample(draw, (len(batch.x),))
    return z


def build_critic(
    config: CriticConfig, divergence: Divergence, num_inputs: int
) -> nn.Module | None:
    """Build a critic with this number of inputs. Return None if the divergence needs no critic."""
    return config.build(num_inputs) if divergence.critic_steps else None


def check_critic(family: str, divergence: Divergence) -> None:
    """Raise ValueError unless the divergence has a critic."""
    require(
        divergence.critic_steps > 0,
        f"{family} needs a divergence with a critic",
        divergence=type(divergence).__name__,
    )
