"""The contract of a divergence. A test derives a class with a fixture `divergence`:

    class TestMMD(DivergenceContract):
        @pytest.fixture
        def divergence(self) -> MMD:
            return MMD()

The tests use a divergence only through `Divergence`.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genae_core.config import from_json, to_json
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.nets.mlp import CriticConfig
from genae_core.testing.toys import digest

BATCH, LATENT = 64, 2


class DivergenceContract:
    """The tests of a divergence, with or without a critic."""

    @pytest.fixture
    def divergence(self) -> Any:
        """The divergence; a subclass overrides this fixture."""
        raise NotImplementedError("define a fixture `divergence` that returns the divergence")

    def critic(self, dropout: float = 0.0) -> nn.Module:
        """An untrained critic of latent codes."""
        with Draw(0).as_global():
            return CriticConfig(widths=(32,), dropout=dropout).build(LATENT)

    def samples(self, shift: float = 3.0) -> tuple[Tensor, Tensor]:
        """Samples of the target, and codes whose mean is `shift` away, [B, D] each."""
        return Draw(1).normal((BATCH, LATENT)), Draw(2).normal((BATCH, LATENT)) + shift

    def test_it_survives_json(self, divergence: Divergence) -> None:
        assert from_json(to_json(divergence)) == divergence

    def test_losses_are_pure_finite_scalars(self, divergence: Divergence) -> None:
        critic = self.critic(dropout=0.2).train()
        target, codes = self.samples()
        before, state = digest(critic), torch.get_rng_state()

        def losses() -> list[Tensor]:
            draw = Draw(3)

            def score(z: Tensor) -> Tensor:
                values: Tensor = critic(z, draw)
                return values

            values = [divergence.codes_loss(score, target, codes)]
            if divergence.critic_steps:
                values.append(divergence.critic_loss(score, target, codes, draw))
                values.append(divergence.target_loss(score, target))
            return values

        for one, other in zip(losses(), losses(), strict=True):
            assert one.shape == () and one.isfinite() and torch.equal(one, other)
        assert digest(critic) == before and torch.equal(torch.get_rng_state(), state)

    def test_the_critic_learns_to_separate_target_and_codes(self, divergence: Divergence) -> None:
        """After a training, its loss is lower and the target has higher scores than the codes."""
        if not divergence.critic_steps:
            with pytest.raises(TypeError, match="no critic"):
                divergence.critic_loss(lambda z: z[:, 0], *self.samples(), Draw(0))
            with pytest.raises(TypeError, match="no critic"):
                divergence.target_loss(lambda z: z[:, 0], self.samples()[0])
            return
        critic, draw = self.critic(), Draw(3)
        target, codes = self.samples()
        adam = torch.optim.Adam(critic.parameters(), 1e-3)

        def score(z: Tensor) -> Tensor:
            values: Tensor = critic(z, draw)
            return values

        losses = []
        for _ in range(150):
            loss = divergence.critic_loss(score, target, codes, draw)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            divergence.project(critic)
            losses.append(float(loss.detach()))
        assert losses[-1] < losses[0]
        with torch.no_grad():
            assert bool(score(target).mean() > score(codes).mean())

    def test_the_codes_move_to_the_target(self, divergence: Divergence) -> None:
        """Codes come closer to the target if they and the critic are trained in turn."""
        critic, draw = self.critic(), Draw(3)
        codes = nn.Parameter(self.samples()[1])
        critic_adam = torch.optim.Adam(critic.parameters(), 1e-3, betas=(0.5, 0.9))
        codes_adam = torch.optim.Adam([codes], 2e-2, betas=(0.5, 0.9))

        def score(z: Tensor) -> Tensor:
            values: Tensor = critic(z, draw)
            return values

        before = float(codes.detach().mean(0).norm())
        for step in range(400):
            target = Draw(4, step).normal((BATCH, LATENT))
            for _ in range(divergence.critic_steps):
                loss = divergence.critic_loss(score, target, codes.detach(), draw)
                critic_adam.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                critic_adam.step()
                divergence.project(critic)
            loss = divergence.codes_loss(score, target, codes)
            codes_adam.zero_grad()
            loss.backward(inputs=[codes])  # type: ignore[no-untyped-call]
            codes_adam.step()
        assert float(codes.detach().mean(0).norm()) < 0.5 * before

    def test_target_and_codes_are_moved_to_each_other(self, divergence: Divergence) -> None:
        """A step of the target lowers its scores, and a step of the codes raises theirs."""
        if not divergence.critic_steps:
            pytest.skip("a divergence without a critic")
        z = self.samples()[0].requires_grad_()

        def score(z: Tensor) -> Tensor:
            # Every critic gives scores like these: least squares makes them shares in [0, 1].
            return torch.sigmoid(z[:, 0])

        (target,) = torch.autograd.grad(divergence.target_loss(score, z), z)
        (codes,) = torch.autograd.grad(divergence.codes_loss(score, z, z), z)
        assert (target[:, 0] > 0).all() and (codes[:, 0] < 0).all()
        assert (target[:, 1] == 0).all() and (codes[:, 1] == 0).all()
