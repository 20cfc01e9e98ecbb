"""The f-divergences, D_f(p || q) = E_q[f(p / q)], by their variational bound.

For a score v and T = g_f(v), D_f(p || q) >= E_p[T] - E_q[f*(T)], with equality at
T = f'(p / q) (Nguyen et al. 2010; Nowozin et al. 2016, eq. 4 to 6 and Table 6).
p is the distribution of the target, and q is the distribution of the codes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.config import register, require, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Score

Kind = Literal["kl", "reverse_kl", "pearson", "squared_hellinger", "jensen_shannon", "gan"]
Function = Callable[[Tensor], Tensor]


class DivergenceFunctions(NamedTuple):
    """The functions of one f-divergence.

    Attributes:
        f: f(u) on u > 0.
        activation: g_f(v), whose range is the domain of f*.
        conjugate: f*(t), the convex conjugate of f.
        conjugate_of_activation: f*(g_f(v)) in a simplified form. It stays finite for scores for
            which the composition of the two functions overflows.
    """

    f: Function
    activation: Function
    conjugate: Function
    conjugate_of_activation: Function


# Printed tables of f-divergences have two errors. For Pearson, f(u) = (u - 1)^2 gives the integral
# of (p - q)^2 / q, and not of (p - q)^2 / p. For Jensen-Shannon, the printed f gives 2 JS(p, q),
# twice the printed divergence. The divergence of "gan" is 2 JS(p, q) - log 4.
FUNCTIONS: dict[Kind, DivergenceFunctions] = {
    "kl": DivergenceFunctions(
        f=lambda u: torch.xlogy(u, u),
        activation=lambda v: v,
        conjugate=lambda t: (t - 1).exp(),
        conjugate_of_activation=lambda v: (v - 1).exp(),
    ),
    "reverse_kl": DivergenceFunctions(
        f=lambda u: -u.log(),
        activation=lambda v: -(-v).exp(),
        conjugate=lambda t: -1 - (-t).log(),
        conjugate_of_activation=lambda v: v - 1,
    ),
    "pearson": DivergenceFunctions(
        f=lambda u: (u - 1).square(),
        activation=lambda v: v,
        conjugate=lambda t: t.square() / 4 + t,
        conjugate_of_activation=lambda v: v.square() / 4 + v,
    ),
    "squared_hellinger": DivergenceFunctions(
        f=lambda u: (u.sqrt() - 1).square(),
        activation=lambda v: 1 - (-v).exp(),
        conjugate=lambda t: t / (1 - t),
        conjugate_of_activation=lambda v: v.exp() - 1,
    ),
    "jensen_shannon": DivergenceFunctions(
        f=lambda u: torch.xlogy(u, u) - torch.xlogy(u + 1, (u + 1) / 2),
        activation=lambda v: math.log(2) - F.softplus(-v),
        conjugate=lambda t: -(2 - t.exp()).log(),
        conjugate_of_activation=lambda v: F.softplus(v) - math.log(2),
    ),
    "gan": DivergenceFunctions(
        f=lambda u: torch.xlogy(u, u) - torch.xlogy(u + 1, u + 1),
        activation=lambda v: -F.softplus(-v),
        conjugate=lambda t: -(-t.expm1()).log(),
        conjugate_of_activation=lambda v: F.softplus(v),
    ),
}


@register("divergence.f")
@dataclass(frozen=True, kw_only=True)
class FDivergence:
    """D_f(p || q) by its variational bound, in nats if f is made of logarithms.

    Args:
        kind: The f-divergence. Creswell et al. 2017, section 2.1, use the default, "gan".
        saturating: Whether the codes minimise the bound itself, -E_q[f*(g_f(v))]. If not, they
            minimise -E_q[g_f(v)], which has the same fixed point and stronger gradients
            (Goodfellow et al. 2014, section 3; Nowozin et al. 2016, section 3.2).
        critic_steps: The number of critic steps before each step of the codes.

    Raises:
        ValueError: A value is out of range.
    """

    kind: Kind = "gan"
    saturating: bool = False
    critic_steps: int = 1

    def __post_init__(self) -> None:
        require(
            self.kind in FUNCTIONS, f"kind must be one of {', '.join(FUNCTIONS)}", kind=self.kind
        )
        require_positive_int(critic_steps=self.critic_steps)

    def critic_loss(self, score: Score, target: Tensor, codes: Tensor, draw: Draw) -> Tensor:
        """-(E_p[g_f(v)] - E_q[f*(g_f(v))]): minus a lower bound of D_f(p || q)."""
        functions = FUNCTIONS[self.kind]
        on_target = functions.activation(score(target)).mean()
        return functions.conjugate_of_activation(score(codes)).mean() - on_target

    def codes_loss(self, score: Score, target: Tensor, codes: Tensor) -> Tensor:
        """-E_q[g_f(v)], or -E_q[f*(g_f(v))] if `saturating`."""
        functions = FUNCTIONS[self.kind]
        scores = score(codes)
        if self.saturating:
            return -functions.conjugate_of_activation(scores).mean()
        return -functions.activation(scores).mean()

    def target_loss(self, score: Score, target: Tensor) -> Tensor:
        """E_p[f*(g_f(v))], or E_p[g_f(v)] if `saturating`.

        The first is the critic's loss on codes: with target and codes exchanged, the critic would
        be trained to give the target low scores. For "gan" it is -E_p[log(1 - sigmoid(v))]
        (Donahue et al. 2017, section 3.4; Dumoulin et al. 2017, algorithm 1).
        """
        functions = FUNCTIONS[self.kind]
        scores = score(target)
        if self.saturating:
            return functions.activation(scores).mean()
        return functions.conjugate_of_activation(scores).mean()

    def project(self, critic: nn.Module) -> None:
        """Every critic is allowed, so nothing changes."""
