"""The chain with falling noise, on the linear-Gaussian model.

With M = A B, its covariance obeys S' = M S M^T + s_t^2 A A^T + s_e^2 I (see
test_chain_distribution.py).
"""

from typing import Any

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov
from test_chain_distribution import CHAINS, LATENTS, S_ENCODE, Linear, check_covariance

from genae_core.samplers.annealed import Annealed
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.loop import run_chain
from genae_core.testing.sampler import SamplerContract


class TestAnnealed(SamplerContract):
    sampler = Annealed()


def test_the_covariance_follows_the_noise_and_ends_at_the_chain_without_noise() -> None:
    model = Linear()
    record = (0, 1, 2, 3, 40)
    sampler = Annealed(noise=0.9, steps=3)
    config = ChainConfig(sampler=sampler, record=record, sub_batch=CHAINS, batch_norm="running")
    chains = {r.step: r.chain for r in run_chain(model, config, CHAINS)}
    a, b = model.a.double().numpy(), model.b.double().numpy()
    m, own = a @ b, S_ENCODE**2 * np.eye(LATENTS)
    covariance = np.eye(LATENTS)
    for step, sd in enumerate((0.9, 0.6, 0.3)):
        covariance = m @ covariance @ m.T + sd**2 * a @ a.T + own
        check_covariance(chains[step + 1].z, covariance)
    check_covariance(chains[40].z, solve_discrete_lyapunov(m, own))


@pytest.mark.parametrize("settings", [{"noise": 0.0}, {"noise": -1.0}, {"steps": 0}])
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Annealed(**settings)
