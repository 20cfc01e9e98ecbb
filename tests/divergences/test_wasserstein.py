import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.nets.mlp import CriticConfig
from genae_core.testing.divergence import DivergenceContract


class TestGradientPenalty(DivergenceContract):
    @pytest.fixture
    def divergence(self) -> Wasserstein:
        return Wasserstein()

    @pytest.mark.slow
    def test_the_codes_move_to_the_target(self, divergence: Divergence) -> None:
        super().test_the_codes_move_to_the_target(divergence)


class TestClipping(DivergenceContract):
    @pytest.fixture
    def divergence(self) -> Wasserstein:
        return Wasserstein(constraint="clip", clip=0.1)

    @pytest.mark.slow
    def test_the_codes_move_to_the_target(self, divergence: Divergence) -> None:
        super().test_the_codes_move_to_the_target(divergence)


def test_the_best_critic_measures_the_distance() -> None:
    """Between samples on a line that only shift, v(z) = -z is best: its gain is W_1, and a slope
    of 1 costs no penalty."""
    target = Draw(0).normal((500, 1))
    codes = target + 2.5
    for constraint in ("gradient_penalty", "clip"):
        loss = Wasserstein(constraint=constraint).critic_loss(  # type: ignore[arg-type]
            lambda z: -z[:, 0], target, codes, Draw(1)
        )
        wanted = wasserstein_distance(target[:, 0].numpy(), codes[:, 0].numpy())
        assert -float(loss) == pytest.approx(wanted, rel=1e-5)


def test_the_penalty_is_its_formula() -> None:
    """v(z) = |z|^2 / 2 has gradient z: 10 E[(|z| - 1)^2] at the interpolated points."""
    target, codes = Draw(0).normal((64, 3)), Draw(1).normal((64, 3))

    def score(z: Tensor) -> Tensor:
        return 0.5 * z.square().sum(1)

    loss = Wasserstein().critic_loss(score, target, codes, Draw(2))
    share = Draw(2).uniform((64, 1))
    between = share * target + (1 - share) * codes
    penalty = 10 * (between.norm(dim=1) - 1).square().mean()
    wanted = score(codes).mean() - score(target).mean() + penalty
    assert float(loss.detach()) == pytest.approx(float(wanted), rel=1e-5)


def test_the_penalty_moves_the_critics_weights() -> None:
    """Its gradient with respect to a weight is that of finite differences."""
    with Draw(0).as_global():
        critic = CriticConfig(widths=(8,), dropout=0.0).build(2).double()
    target, codes = Draw(1).normal((16, 2)).double(), Draw(2).normal((16, 2)).double()

    def loss() -> Tensor:
        return Wasserstein().critic_loss(
            lambda z: critic(z.double(), Draw(0)), target, codes, Draw(3)
        )

    weight = critic.hidden[0].weight
    (gradient,) = torch.autograd.grad(loss(), weight)
    step = 1e-6
    with torch.no_grad():
        weight[0, 0] += step
        above = float(loss())
        weight[0, 0] -= 2 * step
        below = float(loss())
    assert float(gradient[0, 0]) == pytest.approx((above - below) / (2 * step), rel=1e-4)


def test_clipping_projects_every_weight() -> None:
    with Draw(0).as_global():
        critic = CriticConfig(widths=(8,)).build(2)
    Wasserstein().project(critic)
    assert max(float(p.detach().abs().max()) for p in critic.parameters()) > 0.05
    Wasserstein(constraint="clip", clip=0.05).project(critic)
    assert max(float(p.detach().abs().max()) for p in critic.parameters()) == pytest.approx(0.05)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match='"gradient_penalty" or "clip"'):
        Wasserstein(constraint="spectral")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="clip must be > 0"):
        Wasserstein(clip=0.0)
