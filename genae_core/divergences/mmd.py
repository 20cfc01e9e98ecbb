"""The maximum mean discrepancy, which needs no critic.

MMD^2(p, q) = E[k(a, a')] - 2 E[k(a, b)] + E[k(b, b')] with a, a' ~ p and b, b' ~ q
(Gretton et al. 2012, lemma 6; Li et al. 2015, eq. 3; Tolstikhin et al. 2018, algorithm 2).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from genae_core.config import register, require, require_finite
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Score


@register("divergence.mmd")
@dataclass(frozen=True, kw_only=True)
class MMD:
    """The MMD^2 of two samples with a mixture of kernels, k = sum over `scales` of k_s.

    The kernels are k_s(a, b) = C / (C + |a - b|^2) for "imq" and k_s(a, b) = exp(-|a - b|^2 / C)
    for "rbf". Here C = 2 s D bandwidth^2: s times the mean squared distance of two samples of
    N(0, bandwidth^2 I) in D dimensions (Tolstikhin et al. 2018, section 4). For
    "rational_quadratic", k_s(a, b) = (1 + |a - b|^2 / (2 s bandwidth^2))^-s (Binkowski et al.
    2018, section 2.1).

    Args:
        kernel: "imq", "rbf" or "rational_quadratic".
        scales: The values of s.
        bandwidth: The standard deviation to which distances are relative.
        estimator: "unbiased" leaves out the terms k(a, a) and may be negative; "biased" keeps
            them.
        root: Whether the codes minimise the MMD instead of its square (Li et al. 2015, eq. 8).
            This needs the biased estimator, which is never negative.

    Raises:
        ValueError: A value is out of range.
    """

    kernel: Literal["imq", "rbf", "rational_quadratic"] = "imq"
    scales: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
    bandwidth: float = 1.0
    estimator: Literal["unbiased", "biased"] = "unbiased"
    root: bool = False

    def __post_init__(self) -> None:
        require(
            self.kernel in ("imq", "rbf", "rational_quadratic"),
            'kernel must be "imq", "rbf" or "rational_quadratic"',
            kernel=self.kernel,
        )
        require(len(self.scales) > 0, "scales must name at least one value", scales=self.scales)
        for scale in (*self.scales, self.bandwidth):
            require_finite(0, scale=scale)
            require(scale > 0, "scales and bandwidth must be > 0", scale=scale)
        require(
            self.estimator in ("unbiased", "biased"),
            'estimator must be "unbiased" or "biased"',
            estimator=self.estimator,
        )
        require(
            self.estimator == "biased" or not self.root,
            'root needs estimator "biased", because the unbiased estimate may be negative',
            root=self.root,
        )

    @property
    def critic_steps(self) -> int:
        return 0

    def critic_loss(self, score: Score, target: Tensor, codes: Tensor, draw: Draw) -> Tensor:
        """Raise TypeError, because there is no critic."""
        raise TypeError("the MMD has no critic")

    def codes_loss(self, score: Score, target: Tensor, codes: Tensor) -> Tensor:
        """The MMD^2 of the two samples, or its root; `score` is not used."""
        squared = self.between(target, codes)
        # Without the constant, the gradient of the square root at 0 would not be finite.
        return (squared.clamp_min(0) + 1e-12).sqrt() if self.root else squared

    def target_loss(self, score: Score, target: Tensor) -> Tensor:
        """Raise TypeError, because there is no critic."""
        raise TypeError("the MMD has no critic")

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """The estimate of MMD^2 from samples.

        Args:
            a: Samples of p, [N, D], or [N, ...] of D elements each.
            b: Samples of q, [M, D], of the same form.

        Returns:
            A scalar.
        """
        a, b = a.flatten(1), b.flatten(1)
        within = self._within(a) + self._within(b)
        return within - 2 * self._kernel(a, b).mean()

    def witness(self, points: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """E[k(a, t)] - E[k(b, t)] at every point t, which is large where p exceeds q.

        Args:
            points: The points t, [T, D].
            a: Samples of p, [N, D].
            b: Samples of q, [M, D].

        Returns:
            The values, [T].
        """
        return self._kernel(points, a).mean(1) - self._kernel(points, b).mean(1)

    def project(self, critic: nn.Module) -> None:
        """There is no critic, so nothing changes."""

    def _within(self, a: Tensor) -> Tensor:
        """The estimate of E[k(a, a')], a scalar."""
        k = self._kernel(a, a)
        if self.estimator == "biased":
            return k.mean()
        return (k.sum() - k.diagonal().sum()) / (len(a) * (len(a) - 1))

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """k(a, b) of every pair, [N, M]."""
        # The gradient of torch.cdist at equal points is not finite.
        squared = (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(0)
        total = torch.zeros_like(squared)
        for scale in self.scales:
            total = total + self._kernel_of_scale(squared, scale, a.shape[1])
        return total

    def _kernel_of_scale(self, squared: Tensor, scale: float, dimension: int) -> Tensor:
        """k_s of squared distances, of their shape."""
        if self.kernel == "rational_quadratic":
            return (1 + squared / (2 * scale * self.bandwidth**2)) ** -scale
        c = 2 * scale * dimension * self.bandwidth**2
        return c / (c + squared) if self.kernel == "imq" else (-squared / c).exp()
