import math

import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.priors.flow import FlowConfig, FlowPriorConfig
from genae_core.testing.prior import PriorContract

KINDS = ("realnvp", "spline", "maf", "planar", "radial")


class TestRealNVP(PriorContract):
    config = FlowPriorConfig(flow=FlowConfig(transforms=2, widths=(16,)))
    reach = 16.0
    exact_mean = False


class TestSpline(PriorContract):
    config = FlowPriorConfig(flow=FlowConfig(kind="spline", transforms=2, widths=(16,)))
    exact_mean = False


class TestMAF(PriorContract):
    config = FlowPriorConfig(flow=FlowConfig(kind="maf", transforms=2, widths=(16,)))
    exact_mean = False


class TestPlanar(PriorContract):
    config = FlowPriorConfig(flow=FlowConfig(kind="planar"))
    exact_mean = False


class TestRadial(PriorContract):
    config = FlowPriorConfig(flow=FlowConfig(kind="radial"))
    exact_mean = False


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_is_inverted_and_its_determinant_is_that_of_autograd(kind: str) -> None:
    with Draw(0).as_global():
        distribution = FlowConfig(kind=kind, transforms=3, widths=(16,)).build(4).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in distribution.parameters():  # away from the identity
            parameter += 0.3 * Draw(1).normal(tuple(parameter.shape)).double()
    transform = distribution.flow().transform
    z = Draw(2).normal((20, 4)).double()
    eps = transform(z)
    torch.testing.assert_close(transform.inv(eps), z, rtol=0, atol=1e-6)
    for row in z[:5]:
        jacobian = torch.autograd.functional.jacobian(transform, row)
        log_det = transform.log_abs_det_jacobian(row, transform(row))
        wanted = torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(log_det, wanted, rtol=1e-6, atol=1e-8)
        # eq. 4 with its sign put right: log p(z) = log N(T(z); 0, I) + log |det dT/dz|
        log_p = -0.5 * (transform(row).square().sum() + 4 * math.log(2 * math.pi)) + wanted
        torch.testing.assert_close(
            distribution.log_prob(row[None])[0], log_p, rtol=1e-6, atol=1e-8
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_maximum_likelihood_fits_a_gaussian(kind: str) -> None:
    """The mean log-density of the flow comes close to that of a correlated, shifted Gaussian,
    and for the flows with networks to within 0.05 nats."""
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    z = Draw(0).normal((4_000, 2)) @ factor.T + 0.5
    best = -(math.log(2 * math.pi) + 1 + math.log(0.6))
    with Draw(1).as_global():
        distribution = FlowConfig(kind=kind, transforms=4, widths=(32,)).build(2)  # type: ignore[arg-type]
    before = float(distribution.log_prob(z).mean().detach())
    adam = torch.optim.Adam(distribution.parameters(), 1e-2)
    for step in range(300):
        rows = Draw(2, step).permutation(4_000)[:256]
        loss = -distribution.log_prob(z[rows]).mean()
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    after = float(distribution.log_prob(z).mean().detach())
    assert before < after < best + 0.05
    if kind in ("realnvp", "spline", "maf"):
        assert after > best - 0.05


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of realnvp"):
        FlowConfig(kind="glow")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a flow needs latent_dim >= 2"):
        FlowConfig().build(1)
    with pytest.raises(ValueError, match="transforms"):
        FlowConfig(transforms=0)
