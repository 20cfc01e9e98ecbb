"""Two claims about divergences that one dimension decides: what a fit covers, and what saturates.

Neither needs a dataset. Shapes: B batch.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import norm
from torch import Tensor
from torch.optim.lr_scheduler import LinearLR

from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence, Score
from genae_core.divergences.f_divergence import FUNCTIONS, FDivergence, Kind
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.mlp import CriticConfig

# The target of the fit: 0.65 N(-1, 0.8^2) + 0.35 N(2.2, 0.6^2), as weight, mean and deviation.
MIXTURE = ((0.65, -1.0, 0.8), (0.35, 2.2, 0.6))
BATCH = 1_000
FIT_STEPS, CRITIC_STEPS = 1_500, 3
APART = 8.0  # the distance of the two unit Gaussians
SATURATION_STEPS = 6_000
CRITIC = CriticConfig(widths=(64, 64), dropout=0.0)


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
    """

    name: str
    best_mean: float
    best_sd: float
    mean: float
    sd: float
    largest_error: float
    n: int


@dataclass(frozen=True, kw_only=True)
class GradientRow:
    """The gradient that a generator receives where two Gaussians hardly overlap.

    Args:
        name: The family.
        best: The gradient against the best critic, by quadrature.
        low: The smallest gradient of the n seeds, each the median over samples of |d loss / dx|.
        high: The largest one.
        n: The number of seeds.
    """

    name: str
    best: float
    low: float
    high: float
    n: int


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
    train_critic, score = _critic(divergence, FIT_STEPS * CRITIC_STEPS, draw)
    optimizer = AdamConfig(learning_rate=1e-2, beta1=0.5).build([mean, log_sd])
    fits = []
    for step in range(FIT_STEPS):
        for _ in range(CRITIC_STEPS):
            target = _mixture(draw)
            train_critic(target, (mean + log_sd.exp() * _normal(BATCH, draw)).detach())
        samples = mean + log_sd.exp() * _normal(BATCH, draw)
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
        )


def print_fit_rows(rows: Iterable[FitRow]) -> list[FitRow]:
    """Print each row as soon as it is known, and return all."""
    print("\n0.65 N(-1, 0.8^2) + 0.35 N(2.2, 0.6^2) fitted by one Gaussian:")
    print(f"{'':<20} {'best mean, sd':>16} {'fitted mean, sd':>18} {'largest error':>14} seeds")
    printed = []
    for row in rows:
        best, fit = f"{row.best_mean:.3f}, {row.best_sd:.3f}", f"{row.mean:.3f}, {row.sd:.3f}"
        line = f"{row.name:<20} {best:>16} {fit:>18} {row.largest_error:>14.3f} {row.n:>5}"
        print(line, flush=True)
        printed.append(row)
    return printed


FAMILIES: dict[str, Divergence] = {
    "GAN (saturating)": FDivergence(saturating=True),
    "GAN": FDivergence(),
    "WGAN-GP": Wasserstein(),
}


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
    train_critic, score = _critic(divergence, SATURATION_STEPS, draw)
    for _ in range(SATURATION_STEPS):
        train_critic(APART + _normal(BATCH, draw)[:, None], _normal(BATCH, draw))
    x = _normal(BATCH, draw)[:, None].requires_grad_()
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
        )


def print_gradient_rows(rows: Iterable[GradientRow]) -> list[GradientRow]:
    """Print each row as soon as it is known, and return all."""
    print("\nthe gradient of a generator of N(0, 1) towards N(8, 1), median over samples:")
    print(f"{'':<20} {'best critic':>12} {'least seed':>12} {'largest seed':>14} seeds")
    printed = []
    for row in rows:
        line = f"{row.name:<20} {row.best:>12.3g} {row.low:>12.3g} {row.high:>14.3g} {row.n:>5}"
        print(line, flush=True)
        printed.append(row)
    return printed


def _critic(
    divergence: Divergence, steps: int, draw: Draw
) -> tuple[Callable[[Tensor, Tensor], None], Score]:
    """A function that makes one of `steps` steps of a new critic on target [B, 1] and samples
    [B], and its score."""
    with draw.as_global():
        critic = CRITIC.build(1)
    optimizer = AdamConfig(learning_rate=2e-3, beta1=0.5).build(list(critic.parameters()))
    schedule = LinearLR(optimizer, 1.0, 0.0, steps)

    def score(x: Tensor) -> Tensor:
        values: Tensor = critic(x, draw)
        return values

    def step(target: Tensor, samples: Tensor) -> None:
        loss = divergence.critic_loss(score, target, samples[:, None], draw)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        divergence.project(critic)

    return step, score


def _normal(count: int, draw: Draw) -> Tensor:
    """Samples of N(0, 1), one from each of `count` equal parts of its mass, [count]."""
    parts = (torch.arange(count) + draw.uniform((count,))) / count
    # In float32 the last part may round to 1, whose quantile is infinite.
    values: Tensor = torch.special.ndtri(parts.clamp(1e-7, 1 - 1e-7))
    return values


def _mixture(draw: Draw) -> Tensor:
    """Samples of the mixture, [B, 1], with each part in its proportion."""
    parts = [mean + sd * _normal(round(share * BATCH), draw) for share, mean, sd in MIXTURE]
    return torch.cat(parts)[:, None]
