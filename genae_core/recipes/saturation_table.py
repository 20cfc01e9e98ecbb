"""Which generator loses its gradient where two Gaussians hardly overlap, for paper_tables.py.

It needs no dataset.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit
from scipy.stats import norm

from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.f_divergence import FDivergence
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.recipes.gaussians import new_critic, print_as_known, stratified_normal

APART = 8.0  # the distance of the two unit Gaussians
BATCH = 1_000
SATURATION_STEPS = 6_000
FAMILIES: dict[str, Divergence] = {
    "GAN (saturating)": FDivergence(saturating=True),
    "GAN": FDivergence(),
    "WGAN-GP": Wasserstein(),
}


@dataclass(frozen=True, kw_only=True)
class GradientRow:
    """The gradient that a generator receives where two Gaussians hardly overlap.

    Args:
        name: The family.
        best: The gradient against the best critic, by quadrature.
        low: The smallest gradient of the n seeds, each the median over samples of |d loss / dx|.
        high: The largest one.
        n: The number of seeds.
        gradients: The gradient with each seed.
    """

    name: str
    best: float
    low: float
    high: float
    n: int
    gradients: list[float]

    def line(self) -> str:
        """The row as it is printed."""
        return (
            f"{self.name:<20} {self.best:>12.3g} {self.low:>12.3g} {self.high:>14.3g} {self.n:>5}"
        )


def best_gradient(name: str) -> float:
    """The median of |d loss / dx| at samples of q = N(0, 1), with the best critic of p = N(8, 1).

    The best critic of a GAN is v = log p / q, with the slope 8. That of the penalised Wasserstein
    distance has the slope 1 + (Q - P) / (2 penalty r), for the distribution functions P and Q and
    the density r of the points at which the penalty is taken; so it exceeds 1.

    Args:
        name: The name of the family in `FAMILIES`.
    """
    x = norm.ppf((np.arange(2_000) + 0.5) / 2_000)
    divergence = FAMILIES[name]
    if isinstance(divergence, Wasserstein):
        share = ((np.arange(2_000) + 0.5) / 2_000)[:, None]
        spread = np.sqrt(share**2 + (1 - share) ** 2)
        r = norm.pdf(x, APART * share, spread).mean(0)
        slope = 1 + (norm.cdf(x) - norm.cdf(x - APART)) / (2 * divergence.penalty * r)
        return float(np.median(slope))
    v = APART * x - APART**2 / 2
    saturating = name == "GAN (saturating)"
    return float(np.median(APART * expit(v if saturating else -v)))


def generator_gradient(divergence: Divergence, seed: int) -> float:
    """The median of |d loss / dx| at samples of N(0, 1), against a critic trained on N(8, 1).

    Args:
        divergence: The divergence.
        seed: The seed of the critic and of the samples.
    """
    draw = Draw(seed, "saturation", type(divergence).__name__)
    train_critic, score = new_critic(divergence, SATURATION_STEPS, draw)
    for _ in range(SATURATION_STEPS):
        train_critic(
            APART + stratified_normal(BATCH, draw)[:, None], stratified_normal(BATCH, draw)
        )
    x = stratified_normal(BATCH, draw)[:, None].requires_grad_()
    loss = divergence.codes_loss(score, x, x)
    (gradient,) = torch.autograd.grad(loss * BATCH, x)  # the loss is a mean over the samples
    return float(gradient.abs().median())


def gradient_rows(seeds: Sequence[int]) -> Iterator[GradientRow]:
    """The rows of the table saturation: the generator's gradient in each family.

    Args:
        seeds: The seeds.

    Yields:
        The row of each family, as soon as it is known.
    """
    for name, divergence in FAMILIES.items():
        gradients = [generator_gradient(divergence, seed) for seed in seeds]
        yield GradientRow(
            name=name,
            best=best_gradient(name),
            low=min(gradients),
            high=max(gradients),
            n=len(gradients),
            gradients=gradients,
        )


def print_saturation_table(seeds: Sequence[int]) -> list[GradientRow]:
    """Measure the table saturation, and print each row as soon as it is known."""
    return print_as_known(
        "the gradient of a generator of N(0, 1) towards N(8, 1), median over samples",
        f"{'':<20} {'best critic':>12} {'least seed':>12} {'largest seed':>14} seeds",
        gradient_rows(seeds),
    )
