"""Each divergence against the integral of q f(p/q), and against closed forms between Gaussians."""

import math

import pytest
import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.divergences.f_divergence import FUNCTIONS, FDivergence, Kind
from genae_core.testing.divergence import DivergenceContract

KINDS = tuple(FUNCTIONS)
# p = N(0, 1), q = N(m, s^2) with tails that keep the Pearson integral of p^2 / q finite.
GAUSSIANS = ((0.5, 1.0), (1.0, 1.3), (-0.7, 0.9))
# Where f's argument is spread: u = p/q, and the range of scores to which g_f^-1 f'(u) leads.
RATIOS = torch.logspace(-3, 3, 601, dtype=torch.float64)


def densities(mean: float, sd: float) -> tuple[Tensor, Tensor, Tensor]:
    """A grid z, and p and q on it, float64."""
    z = torch.linspace(-16, 16, 400_001, dtype=torch.float64)
    p = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    q = torch.exp(-0.5 * ((z - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
    return z, p, q


def slope(kind: Kind, u: Tensor) -> Tensor:
    """f'(u) by automatic differentiation."""
    u = u.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(FUNCTIONS[kind].f(u).sum(), u)
    return gradient


@pytest.mark.parametrize("kind", KINDS)
class TestFDivergence(DivergenceContract):
    @pytest.fixture
    def divergence(self, kind: Kind) -> FDivergence:
        return FDivergence(kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_conjugate_is_the_supremum(kind: Kind) -> None:
    """f*(t) = sup_u (u t - f(u)), attained at f'(u) = t: at t = f'(u0) it is u0 t - f(u0), and
    no u on a grid gives more."""
    functions = FUNCTIONS[kind]
    t = slope(kind, RATIOS)
    wanted = RATIOS * t - functions.f(RATIOS)
    torch.testing.assert_close(functions.conjugate(t), wanted, rtol=1e-9, atol=1e-9)
    every = RATIOS[:, None] * t - functions.f(RATIOS)[:, None]
    assert (every.max(0).values <= wanted + 1e-9 * wanted.abs() + 1e-9).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_activation_maps_onto_the_domain_of_the_conjugate(kind: Kind) -> None:
    """The composed form is the two in turn, and every f'(u) is reached, in order."""
    functions = FUNCTIONS[kind]
    v = torch.linspace(-8, 8, 201, dtype=torch.float64)
    g = functions.activation(v)
    torch.testing.assert_close(
        functions.conjugate_of_activation(v), functions.conjugate(g), rtol=1e-8, atol=1e-8
    )
    assert (g.diff() > 0).all()
    reached = slope(kind, torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64))
    assert g[0] < reached.min() and reached.max() < g[-1]
    far = torch.tensor([-60.0, 60.0])
    assert functions.conjugate_of_activation(far).isfinite().all()


@pytest.mark.parametrize("distribution", GAUSSIANS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_at_the_best_critic_is_the_divergence(
    kind: Kind, distribution: tuple[float, float]
) -> None:
    """E_p[f'(p/q)] - E_q[f*(f'(p/q))], by quadrature, is the integral of q f(p/q)."""
    z, p, q = densities(*distribution)
    # Beyond, f'(p/q) rounds to the end of its domain, and what is left of the integral is none.
    keep = (p > 1e-280) & (q > 1e-280) & ((p / q).log().abs() < 25)
    z, p, q = z[keep], p[keep], q[keep]
    functions = FUNCTIONS[kind]
    t = slope(kind, p / q)
    bound = torch.trapezoid(p * t - q * functions.conjugate(t), z)
    wanted = torch.trapezoid(q * functions.f(p / q), z)
    assert float(bound) == pytest.approx(float(wanted), rel=1e-5)


def closed(kind: Kind, mean: float, sd: float) -> float | None:
    """Between p = N(0, 1) and q = N(mean, sd^2), where there is a closed form."""
    v = sd**2
    if kind == "kl":  # of p from q
        return math.log(sd) + (1 + mean**2) / (2 * v) - 0.5
    if kind == "reverse_kl":
        return -math.log(sd) + (v + mean**2) / 2 - 0.5
    if kind == "squared_hellinger":
        overlap = math.sqrt(2 * sd / (1 + v)) * math.exp(-(mean**2) / (4 * (1 + v)))
        return 2 - 2 * overlap
    if kind == "pearson":  # integral of p^2 / q, less 1
        assert 2 * v > 1
        return v / math.sqrt(2 * v - 1) * math.exp(mean**2 / (2 * v - 1)) - 1
    return None  # Jensen-Shannon and GAN have none


@pytest.mark.parametrize("distribution", GAUSSIANS)
@pytest.mark.parametrize("kind", KINDS)
def test_closed_forms_between_gaussians(kind: Kind, distribution: tuple[float, float]) -> None:
    z, p, q = densities(*distribution)
    keep = (p > 1e-280) & (q > 1e-280)
    estimate = float(torch.trapezoid((q * FUNCTIONS[kind].f(p / q))[keep], z[keep]))
    wanted = closed(kind, *distribution)
    if wanted is None:
        middle = (p + q) / 2
        js = 0.5 * torch.trapezoid(
            (torch.xlogy(p, p / middle) + torch.xlogy(q, q / middle))[keep], z[keep]
        )
        assert 0 < js < math.log(2)
        wanted = 2 * float(js) - (math.log(4) if kind == "gan" else 0)
    assert estimate == pytest.approx(wanted, rel=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_estimate_the_divergence(kind: Kind) -> None:
    """On samples, with the best score, minus the critic's loss is D_f to sampling error."""
    mean, n = 0.5, 400_000
    target, codes = Draw(0).normal((n, 1)).double(), Draw(1).normal((n, 1)).double() + mean
    functions, divergence = FUNCTIONS[kind], FDivergence(kind=kind)
    v = torch.linspace(-30, 30, 200_001, dtype=torch.float64)
    g = functions.activation(v)

    def score(z: Tensor) -> Tensor:
        u = torch.exp(0.5 * ((z[:, 0] - mean) ** 2 - z[:, 0] ** 2))
        return v[torch.searchsorted(g, slope(kind, u)).clamp_max(len(v) - 1)]

    on_target = functions.activation(score(target))
    on_codes = functions.conjugate_of_activation(score(codes))
    error = math.sqrt(float(on_target.var() + on_codes.var()) / n)
    z, p, q = densities(mean, 1.0)
    wanted = float(torch.trapezoid(q * functions.f(p / q), z))
    estimate = -float(divergence.critic_loss(score, target, codes, Draw(2)))
    assert abs(estimate - wanted) < 5 * error + 1e-3  # the table of scores is a grid


def test_the_gan_losses_in_closed_values() -> None:
    """D = sigmoid(0) = 1/2 and sigmoid(log 3) = 3/4."""
    gan, z = FDivergence(), torch.zeros(4, 1)
    three = math.log(3.0)

    def critic(on_target: float, on_codes: float) -> float:
        score = lambda x: torch.full((len(x),), float(on_target if x[0, 0] == 0 else on_codes))  # noqa: E731
        return float(gan.critic_loss(score, z, z + 1, Draw(0)))

    def encoder(height: float, saturating: bool = False) -> float:
        answer = FDivergence(saturating=saturating)
        return float(answer.codes_loss(lambda x: torch.full((len(x),), float(height)), z, z))

    assert critic(0, 0) == pytest.approx(2 * math.log(2), rel=1e-6)
    assert critic(three, 0) == pytest.approx(math.log(4 / 3) + math.log(2), rel=1e-6)
    assert critic(0, three) == pytest.approx(math.log(2) + math.log(4), rel=1e-6)
    assert encoder(three) == pytest.approx(math.log(4 / 3), rel=1e-6)
    assert encoder(-three) == pytest.approx(math.log(4), rel=1e-6)
    assert encoder(three, True) == pytest.approx(-math.log(4), rel=1e-6)  # log(1 - 3/4)
    assert critic(-1e4, 1e4) == pytest.approx(2e4)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of kl, reverse_kl"):
        FDivergence(kind="js")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="critic_steps must be a whole number >= 1"):
        FDivergence(critic_steps=0)
