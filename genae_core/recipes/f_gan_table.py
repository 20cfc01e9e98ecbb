"""What an f-divergence covers: one Gaussian is fitted to a mixture of two, for paper_tables.py.

It needs no dataset. Shapes: B batch.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import norm
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.divergences.f_divergence import FUNCTIONS, FDivergence, Kind
from genae_core.models.optimizers import AdamConfig
from genae_core.recipes.gaussians import new_critic, print_as_known, stratified_normal

# The target of the fit: 0.65 N(-1, 0.8^2) + 0.35 N(2.2, 0.6^2), as weight, mean and deviation.
MIXTURE = ((0.65, -1.0, 0.8), (0.35, 2.2, 0.6))
BATCH = 1_000
FIT_STEPS, CRITIC_STEPS = 1_500, 3


@dataclass(frozen=True, kw_only=True)
class FitRow:
    """The Gaussian that an f-divergence fits to the mixture.

    Args:
        name: The kind of the f-divergence.
        best_mean: The mean of the Gaussian of the least divergence, by quadrature.
        best_sd: Its standard deviation.
        mean: The mean of the fit by a critic and samples, averaged over the seeds.
        sd: Its standard deviation, averaged over the seeds.
        largest_error: The largest error of a mean or a standard deviation in any seed.
        n: The number of seeds.
        fits: The mean and the standard deviation of the fit with each seed.
    """

    name: str
    best_mean: float
    best_sd: float
    mean: float
    sd: float
    largest_error: float
    n: int
    fits: list[tuple[float, float]]

    def line(self) -> str:
        """The row as it is printed."""
        best, fit = f"{self.best_mean:.3f}, {self.best_sd:.3f}", f"{self.mean:.3f}, {self.sd:.3f}"
        return f"{self.name:<20} {best:>16} {fit:>18} {self.largest_error:>14.3f} {self.n:>5}"


def best_gaussian(kind: Kind) -> tuple[float, float]:
    """The mean and the deviation of the Gaussian q of the least D_f(p || q) = E_q[f(p / q)].

    The integral is a sum over a grid of [-12, 12], with steps of 0.003.

    Args:
        kind: The f-divergence.
    """
    x = np.linspace(-12, 12, 8_001)
    p = sum(weight * norm.pdf(x, mean, sd) for weight, mean, sd in MIXTURE)

    def divergence(values: NDArray[np.float64]) -> float:
        q = norm.pdf(x, values[0], math.exp(values[1]))
        ratio = torch.from_numpy(p / np.maximum(q, 1e-300))
        f = FUNCTIONS[kind].f(ratio.clamp(1e-300, 1e300)).numpy()
        return float(np.trapezoid(np.where(q > 1e-280, q * f, 0.0), x))

    best = minimize(
        divergence, (0.1, math.log(1.7)), method="Nelder-Mead", options={"xatol": 1e-6}
    )
    return float(best.x[0]), float(math.exp(best.x[1]))


def fit_gaussian(kind: Kind, seed: int) -> tuple[float, float]:
    """Fit a Gaussian to the mixture by the variational bound, with a critic and samples.

    Args:
        kind: The f-divergence.
        seed: The seed of the critic and of the samples.

    Returns:
        The mean and the standard deviation, averaged over the last third of the steps.
    """
    draw = Draw(seed, "f_gan_1d", kind)
    mean, log_sd = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    # The Gaussian cannot become the mixture, so only the bound itself has the right optimum.
    divergence = FDivergence(kind=kind, saturating=True)
    train_critic, score = new_critic(divergence, FIT_STEPS * CRITIC_STEPS, draw)
    optimizer = AdamConfig(learning_rate=1e-2, beta1=0.5).build([mean, log_sd])
    fits = []
    for step in range(FIT_STEPS):
        for _ in range(CRITIC_STEPS):
            target = _mixture(draw)
            train_critic(target, (mean + log_sd.exp() * stratified_normal(BATCH, draw)).detach())
        samples = mean + log_sd.exp() * stratified_normal(BATCH, draw)
        loss = divergence.codes_loss(score, target, samples[:, None])
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / FIT_STEPS)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        fits.append((float(mean.detach()), math.exp(float(log_sd.detach()))))
    late = np.mean(fits[-FIT_STEPS // 3 :], axis=0)
    return float(late[0]), float(late[1])


def fit_rows(seeds: Sequence[int]) -> Iterator[FitRow]:
    """The rows of the table f_gan_1d, from the kind that seeks a mode to the one that covers all.

    Args:
        seeds: The seeds.

    Yields:
        The optimum and the fit of each kind of f-divergence, as soon as it is known.
    """
    optima = {kind: best_gaussian(kind) for kind in FUNCTIONS}
    for kind, best in sorted(optima.items(), key=lambda item: item[1][1]):
        fits = [fit_gaussian(kind, seed) for seed in seeds]
        errors = [abs(a - b) for fit in fits for a, b in zip(fit, best, strict=True)]
        mean, sd = np.mean(fits, axis=0)
        yield FitRow(
            name=kind.replace("_", " "),
            best_mean=best[0],
            best_sd=best[1],
            mean=float(mean),
            sd=float(sd),
            largest_error=max(errors),
            n=len(fits),
            fits=fits,
        )


def print_f_gan_table(seeds: Sequence[int]) -> list[FitRow]:
    """Measure the table f_gan_1d, and print each row as soon as it is known."""
    return print_as_known(
        "0.65 N(-1, 0.8^2) + 0.35 N(2.2, 0.6^2) fitted by one Gaussian",
        f"{'':<20} {'best mean, sd':>16} {'fitted mean, sd':>18} {'largest error':>14} seeds",
        fit_rows(seeds),
    )


def _mixture(draw: Draw) -> Tensor:
    """Samples of the mixture, [B, 1], with each part in its proportion."""
    parts = [
        mean + sd * stratified_normal(round(share * BATCH), draw) for share, mean, sd in MIXTURE
    ]
    return torch.cat(parts)[:, None]
