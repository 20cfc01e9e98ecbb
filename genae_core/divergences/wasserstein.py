"""The Wasserstein-1 distance by its dual: the supremum of E_p[v] - E_q[v] over 1-Lipschitz v.

Arjovsky et al. 2017, eq. 2; Gulrajani et al. 2017, eq. 3; Sridhar & Srivastava, eq. 7 and 8.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from genae_core.config import register, require, require_finite, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Score


@register("divergence.wasserstein")
@dataclass(frozen=True, kw_only=True)
class Wasserstein:
    """W_1(p, q), with a critic that a gradient penalty or clipped weights keep near 1-Lipschitz.

    Args:
        constraint: "gradient_penalty" or "clip".
        penalty: The weight of the gradient penalty.
        clip: The largest absolute value of the critic's weights if constraint="clip". The distance
            is then estimated up to an unknown factor.
        critic_steps: The number of critic steps before each step of the codes.

    Raises:
        ValueError: A value is out of range.
    """

    constraint: Literal["gradient_penalty", "clip"] = "gradient_penalty"
    penalty: float = 10.0
    clip: float = 0.01
    critic_steps: int = 5

    def __post_init__(self) -> None:
        require(
            self.constraint in ("gradient_penalty", "clip"),
            'constraint must be "gradient_penalty" or "clip"',
            constraint=self.constraint,
        )
        require_finite(0, penalty=self.penalty, clip=self.clip)
        require(self.clip > 0, "clip must be > 0", clip=self.clip)
        require_positive_int(critic_steps=self.critic_steps)

    def critic_loss(self, score: Score, target: Tensor, codes: Tensor, draw: Draw) -> Tensor:
        """E_q[v] - E_p[v] + penalty E[(||grad v|| - 1)^2].

        The gradient is taken at random points on the lines between pairs of the two samples.
        """
        loss = score(codes).mean() - score(target).mean()
        if self.constraint == "clip":
            return loss
        total: Tensor = loss + self.penalty * gradient_penalty(score, target, codes, draw)
        return total

    def codes_loss(self, score: Score, target: Tensor, codes: Tensor) -> Tensor:
        """-E_q[v]."""
        return -score(codes).mean()

    def target_loss(self, score: Score, target: Tensor) -> Tensor:
        """E_p[v]."""
        return score(target).mean()

    def project(self, critic: nn.Module) -> None:
        """Clip every weight to [-clip, clip] (Arjovsky et al. 2017, algorithm 1, line 7)."""
        if self.constraint == "clip":
            with torch.no_grad():
                for parameter in critic.parameters():
                    parameter.clamp_(-self.clip, self.clip)


def has_gradient_penalty(divergence: object) -> bool:
    """Whether a divergence has a gradient penalty, which holds for each sample alone."""
    return isinstance(divergence, Wasserstein) and divergence.constraint == "gradient_penalty"


def gradient_penalty(score: Score, target: Tensor, codes: Tensor, draw: Draw) -> Tensor:
    """E[(||grad score|| - 1)^2] at random points on the lines between pairs of the two samples.

    Gulrajani et al. 2017, eq. 3.

    Args:
        score: The critic.
        target: Samples of p, [B, D], without gradients.
        codes: Samples of q, [B, D], without gradients.
        draw: The source of randomness.

    Returns:
        A scalar.
    """
    weight = draw.uniform((len(codes), *[1] * (codes.ndim - 1)))
    gradient = _gradient(score, weight * target + (1 - weight) * codes)
    # Without the constant, the gradient of the square root at 0 would not be finite.
    norm = (gradient.flatten(1).square().sum(1) + 1e-12).sqrt()
    return (norm - 1).square().mean()


def _gradient(score: Score, z: Tensor) -> Tensor:
    """The gradient of the score at each z, of its shape, which is itself differentiable."""
    try:
        z.requires_grad_()
    except RuntimeError:
        # Under vmap only torch.func works; it takes a tenth longer.
        under_vmap: Tensor = torch.func.grad(lambda z: score(z).sum())(z)
        return under_vmap
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(score(z).sum(), z, create_graph=True)
    return gradient
