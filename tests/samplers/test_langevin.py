import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.priors.flow import FlowConfig
from genae_core.priors.mixture import GaussianMixture
from genae_core.priors.swiss_roll import SwissRollPriorConfig
from genae_core.priors.uniform import UniformPriorConfig
from genae_core.samplers.base import ModelWithPrior
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.langevin import OPTIMAL_ACCEPTANCE, Langevin, score
from genae_core.samplers.loop import run_chain
from genae_core.testing.sampler import SamplerContract
from genae_core.testing.toys import Toy

CHAINS = 4_000
WEIGHTS, MEANS = (0.3, 0.7), ((-1.5, 0.5), (1.0, -0.5))
SDS = ((0.6, 1.0), (0.9, 0.4))


def mixture() -> GaussianMixture:
    return GaussianMixture(
        torch.tensor(WEIGHTS), torch.tensor(MEANS), torch.diag_embed(torch.tensor(SDS))
    )


class TestLangevin(SamplerContract):
    sampler = Langevin(moves=1)
    rejects = True


def _p_values(z: Tensor) -> list[float]:
    """Kolmogorov-Smirnov of each marginal, and of a slanted projection, against the mixture."""
    results = []
    for way in ((1.0, 0.0), (0.0, 1.0), (0.6, 0.8)):
        means = np.array(MEANS) @ way
        sds = np.sqrt(np.square(SDS) @ np.square(way))

        def cdf(x: Any, means: Any = means, sds: Any = sds) -> Any:
            parts = (
                w * stats.norm(m, s).cdf(x) for w, m, s in zip(WEIGHTS, means, sds, strict=True)
            )
            return sum(parts)

        results.append(float(stats.kstest((z.double().numpy() @ way), cdf).pvalue))
    return results


def _run(sampler: Langevin, fitted_prior: Any, record: tuple[int, ...]) -> dict[int, Any]:
    class Fixed:
        def fit(self, codes: Tensor, draw: Draw) -> Any:
            return fitted_prior

    config = ChainConfig(
        sampler=sampler,
        record=record,
        sub_batch=CHAINS,
        batch_norm="running",
        fitted_prior=Fixed(),
    )
    return {r.step: r.chain for r in run_chain(Toy(), config, CHAINS, fitted_prior=fitted_prior)}


def test_its_stationary_law_is_the_density_of_z() -> None:
    """From N(0, I), which the same test refuses, within 30 steps of 10 moves; 1e-4 of 3 tests."""
    chains = _run(Langevin(), mixture(), (0, 30))
    assert max(_p_values(chains[0].z)) < 1e-6
    assert min(_p_values(chains[30].z)) > 1e-4
    exact = mixture().sample(Draw(9), (CHAINS,))
    assert min(_p_values(exact)) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.02, 5.0])
def test_the_step_size_finds_its_acceptance_rate(size: float) -> None:
    """Over the 400 moves after the adaptation, from a step far too small and one far too large."""
    sampler = Langevin(size=size, adapt=300)
    results = _run(sampler, mixture(), (0, 30, 70))
    before, after = (float(results[step].accepted.mean()) for step in (30, 70))
    late = (700 * after - 300 * before) / 400
    assert abs(late - OPTIMAL_ACCEPTANCE) < 0.05


def test_without_adaptation_the_step_stays() -> None:
    model = ModelWithPrior(Toy().eval(), mixture())
    sampler = Langevin(adapt=0, size=0.3)
    with torch.no_grad():
        chain = sampler.init(model, 50, Draw(0))
        chain = sampler.step(model, chain, Draw(1))
    assert float(chain.state.log_size.exp()) == pytest.approx(0.3)
    assert chain.state.moves == 10


def test_the_score_is_the_gradient_of_the_density() -> None:
    """Of a flow too, by central differences in float64; and its parameters get no gradient."""
    with Draw(0).as_global():
        flow = FlowConfig(kind="realnvp", transforms=2, widths=(16,)).build(2).double()
    z = Draw(1).normal((5, 2)).double()
    for fitted_prior in (flow, mixture().double()):
        log_density, gradient = score(fitted_prior, z)
        torch.testing.assert_close(log_density, fitted_prior.log_prob(z).detach())
        for k, step in enumerate(torch.eye(2).double() * 1e-5):
            slope = (fitted_prior.log_prob(z + step) - fitted_prior.log_prob(z - step)) / 2e-5
            torch.testing.assert_close(gradient[:, k], slope.detach(), rtol=1e-5, atol=1e-6)
    assert all(p.grad is None for p in flow.parameters())


def test_on_a_flat_density_it_stays_on_the_support_and_fills_it() -> None:
    fitted_prior = UniformPriorConfig().build(2)
    last = _run(Langevin(moves=20), fitted_prior, (0, 20))[20]
    inside = fitted_prior.log_prob(last.z).reshape(CHAINS, -1).sum(1).isfinite()
    assert inside.float().mean() > 0.99  # some begin outside, and may be far from it
    assert 0 < float(last.accepted.mean()) < 1
    kept = last.z[inside].double().numpy()
    for column in kept.T:
        assert stats.kstest(column, stats.uniform(-2, 4).cdf).pvalue > 1e-4


def test_a_law_without_a_density_is_refused() -> None:
    model = ModelWithPrior(Toy().eval(), SwissRollPriorConfig().build(2))
    with pytest.raises(ValueError, match="Langevin needs a density of z, and SwissRoll has none"):
        Langevin().init(model, 5, Draw(0))


@pytest.mark.parametrize(
    "settings", [{"moves": 0}, {"size": 0.0}, {"size": math.nan}, {"adapt": -1}, {"decode": "x"}]
)
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Langevin(**settings)
