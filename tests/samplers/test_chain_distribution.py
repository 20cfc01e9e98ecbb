"""The distribution of the chain on models for which it is known: linear maps with Gaussian noise.

z' = A (B z + s_d e1 + noise e2) + s_e e3, so with M = A B the covariance obeys
S' = M S M^T + Q, Q = (s_d^2 + noise^2) A A^T + s_e^2 I, s_d = 0 where the mean is decoded.
"""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov
from torch import Tensor, nn

from genae_core.distributions.base import Delta, Distribution, Normal
from genae_core.distributions.rng import Draw
from genae_core.metrics.mixing import measure_mixing
from genae_core.models.base import add_noise
from genae_core.models.vae import VAEConfig
from genae_core.nets.base import sampling_mode
from genae_core.nets.mlp import MLPConfig
from genae_core.samplers.base import Chain
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.loop import run_chain
from genae_core.samplers.metropolis import Metropolis
from genae_core.testing.toys import Toy, digest

CHAINS, STEPS, PIXELS, LATENTS = 20_000, 40, 4, 3
S_ENCODE, S_DECODE, NOISE = 0.5, 0.7, 0.6


class Linear(nn.Module):
    """q(z|x) = N(A x, s_e^2 I), p(x|z) = N(B z, s_d^2 I), p(z) = N(0, I); images [B, 1, 1, P].

    `encoded` holds every input of the encoder.
    """

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        a, b = Draw(0).normal((LATENTS, PIXELS)), Draw(1).normal((PIXELS, LATENTS))
        radius = torch.linalg.eigvals(a @ b).abs().max()
        self.a, self.b = a * 0.8 / radius, b  # M's spectral radius is 0.8
        self.noise = noise
        self.encoded: list[Tensor] = []

    def latent_prior(self) -> Distribution:
        return Normal(torch.zeros(LATENTS), torch.zeros(LATENTS))

    def encode(self, x: Tensor) -> Distribution:
        self.encoded.append(x)
        mean = x.flatten(1) @ self.a.T
        return Normal(mean, torch.full_like(mean, 2 * math.log(S_ENCODE)))

    def decode(self, z: Tensor) -> Distribution:
        mean = (z @ self.b.T)[:, None, None]
        return Normal(mean, torch.full_like(mean, 2 * math.log(S_DECODE)))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.noise, draw)


class Posterior(Linear):
    """q(z|x) = N(m(x) + shift, widen^2 S), p(z|x) = N(m(x), S) where shift = 0, widen = 1:
    S = (I + B^T B / s_d^2)^-1, m(x) = S B^T x / s_d^2, with B turned so that S is diagonal."""

    def __init__(self, shift: float, widen: float, noise: float = 0.0, scale: float = 1.0) -> None:
        super().__init__(noise)
        b = scale * self.b.double()
        axes = torch.linalg.eigh(b.T @ b).eigenvectors
        b = b @ axes
        variances = 1 / (1 + (b.T @ b).diagonal() / S_DECODE**2)
        self.b = b.float()
        self.a = (variances[:, None] * b.T / S_DECODE**2).float()
        self.shift, self.log_var = shift, (widen**2 * variances).log().float()

    def encode(self, x: Tensor) -> Distribution:
        mean = x.flatten(1) @ self.a.T + self.shift
        return Normal(mean, self.log_var.expand_as(mean))


class Deterministic(Linear):
    """Encoder and decoder are deterministic: z_k = M^k z_0."""

    def encode(self, x: Tensor) -> Distribution:
        return Delta(x.flatten(1) @ self.a.T)

    def decode(self, z: Tensor) -> Distribution:
        return Delta((z @ self.b.T)[:, None, None])


def _run(
    model: nn.Module, record: tuple[int, ...], chains: int = CHAINS, **sampler: Any
) -> dict[int, Any]:  # noqa: ANN401
    config = ChainConfig(sampler=EncodeDecode(**sampler), record=record, sub_batch=chains)
    return {r.step: r.chain for r in run_chain(model, config, chains)}


def _metropolis(model: nn.Module, record: tuple[int, ...], z: Tensor) -> dict[int, Chain]:
    """By step, from z, with nothing but the sampler itself."""
    sampler, draw, chains = Metropolis(), Draw(3), {}
    with sampling_mode(model, "running"):
        chain = sampler.init(model, z, draw)
        for step in range(record[-1] + 1):
            chain = sampler.step(model, chain, draw) if step else chain
            chains[step] = chain
    return {step: chains[step] for step in record}


def _matrices(decode: str, noise: float) -> tuple[Any, Any]:
    """M and Q in float64."""
    model = Linear()
    a, b = model.a.double().numpy(), model.b.double().numpy()
    spread = noise**2 + (S_DECODE**2 if decode == "sample" else 0.0)
    return a @ b, spread * a @ a.T + S_ENCODE**2 * np.eye(LATENTS)


def check_covariance(z: Tensor, expected: Any) -> None:  # noqa: ANN401
    """Mean 0 and this covariance, within 5 standard errors of n independent Gaussians:
    sqrt((S_ii S_jj + S_ij^2) / n) for a covariance, sqrt(S_ii / n) for a mean."""
    covariance = np.cov(z.double().numpy(), rowvar=False)
    variance = np.diag(expected)
    error = np.sqrt((np.outer(variance, variance) + expected**2) / len(z))
    assert (np.abs(covariance - expected) < 5 * error).all(), (covariance, expected)
    assert (np.abs(z.double().mean(0).numpy()) < 5 * np.sqrt(variance / len(z))).all()


@pytest.mark.parametrize("noise", [0.0, NOISE])
@pytest.mark.parametrize("decode", ["mean", "sample"])
def test_the_covariance_follows_the_lyapunov_equation(decode: str, noise: float) -> None:
    chains = _run(Linear(noise), (0, 1, 2, STEPS), decode=decode)
    m, q = _matrices(decode, noise)
    covariance = np.eye(LATENTS)
    for step in range(3):
        check_covariance(chains[step].z, covariance)
        covariance = m @ covariance @ m.T + q
    # What is left of the start after 40 steps is of order 0.8^80 = 2e-8.
    check_covariance(chains[STEPS].z, solve_discrete_lyapunov(m, q))


def test_the_stationary_distributions_differ_by_more_than_the_tolerance() -> None:
    """The four settings' stationary variances differ by more than twice the tolerance, which is
    5 sqrt(2 / n) of a variance."""
    variances = [
        np.trace(solve_discrete_lyapunov(*_matrices(decode, noise)))
        for decode in ("mean", "sample")
        for noise in (0.0, NOISE)
    ]
    for one, other in zip(sorted(variances), sorted(variances)[1:], strict=False):
        assert other > one * (1 + 2 * 5 * math.sqrt(2 / CHAINS))


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "widen", "noise"), [(0.1, 0.8, 0.0), (0.2, 1.5, NOISE)])
def test_metropolis_has_the_joint_distribution_of_the_model_for_every_encoder(
    shift: float, widen: float, noise: float
) -> None:
    """(z, x) is N(0, [[I, B^T], [B, B B^T + s_d^2 I]]): from the prior at every step, and from
    far away in the end; the same encoder without rejections has another distribution."""
    model = Posterior(shift, widen, noise)
    b = model.b.double().numpy()
    joint = np.block([[np.eye(LATENTS), b.T], [b, b @ b.T + S_DECODE**2 * np.eye(PIXELS)]])
    z0 = Draw(4).normal((CHAINS, LATENTS))
    for start, steps in ((z0, (0, 1, 2, STEPS)), (0.2 * z0 + 1.0, (400,))):
        for step, chain in _metropolis(model, steps, start).items():
            check_covariance(torch.cat([chain.z, chain.x.flatten(1)], 1), joint)
            assert chain.accepted is not None
            rate = float(chain.accepted.mean())
            assert (rate == 0) if step == 0 else (0.2 < rate < 0.95)
    plain = _run(model, (0, STEPS), decode="sample")[STEPS].z
    with pytest.raises(AssertionError):
        check_covariance(plain, np.eye(LATENTS))


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["encode_decode", "metropolis"])
def test_chains_that_have_reached_their_distribution_agree(distribution: str) -> None:
    """Split R-hat below 1.01 in every dimension after the start is forgotten; far above it while
    chains from apart still are apart."""
    model, kept = Posterior(0.1, 1.3, scale=0.5), tuple(range(3_000))
    z0 = 3 * Draw(4).normal((40, LATENTS))
    if distribution == "metropolis":
        chains = _metropolis(model, kept, z0)
    else:
        config = ChainConfig(sampler=EncodeDecode(decode="sample"), record=kept, sub_batch=40)
        chains = {r.step: r.chain for r in run_chain(model, config, 40, start=z0)}
    z = torch.stack([chains[step].z for step in kept])
    assert (measure_mixing(z[500:]).rhat < 1.01).all()
    assert measure_mixing(z[:10]).rhat.max() > 1.2


def test_metropolis_with_the_exact_posterior_rejects_nothing() -> None:
    """A ratio of 1, but for rounding."""
    chain = _metropolis(Posterior(0, 1), (10,), Draw(4).normal((2_000, LATENTS)))[10]
    assert chain.accepted is not None and float(chain.accepted.mean()) > 0.999


def test_a_chain_that_leaves_the_floats_is_stopped_with_its_step() -> None:
    model = Linear()
    model.a = model.a * 1e9
    with pytest.raises(FloatingPointError, match=r"6 of 6 chains are not finite by step 10"):
        _run(model, (0, 2, 10), chains=6)


def test_records_come_during_the_run_while_the_model_is_in_its_own_mode() -> None:
    """Records at the end of a sub-batch would need memory for all recorded steps."""
    with Draw(0).as_global():
        model = VAEConfig(latent_dim=2, net=MLPConfig(widths=(8,))).build((1, 2, 2)).train()
    steps = []

    class Counted(EncodeDecode):
        def step(self, *arguments: Any) -> Chain:
            steps.append(not model.training)
            return super().step(*arguments)

    config = ChainConfig(sampler=Counted(), record=(0, 1, 5), sub_batch=4)
    order = []
    for record in run_chain(model, config, 8):
        order.append((record.first, record.step, len(steps)))
        assert model.training and torch.is_grad_enabled()
    assert order == [(0, 0, 0), (0, 1, 1), (0, 5, 5), (4, 0, 5), (4, 1, 6), (4, 5, 10)]
    assert all(steps)


def test_corruption_can_be_turned_off() -> None:
    chain = _run(Linear(NOISE), (0, STEPS), corrupt=False)[STEPS]
    check_covariance(chain.z, solve_discrete_lyapunov(*_matrices("mean", 0.0)))


@pytest.mark.parametrize("decode", ["mean", "sample"])
def test_a_step_encodes_what_the_step_before_decoded(decode: str) -> None:
    model = Linear()
    chains = _run(model, (0, 1, 2, 3), chains=6, decode=decode)
    assert len(model.encoded) == 3
    for step in range(3):
        assert torch.equal(model.encoded[step], chains[step].x)
    for chain in chains.values():
        assert torch.equal(chain.mean, model.decode(chain.z).mean)


def test_a_deterministic_chain_is_a_matrix_power() -> None:
    chains = _run(Deterministic(), (0, 1, 2, 5), chains=6)
    m, _ = _matrices("mean", 0.0)
    z0 = chains[0].z.double().numpy()
    for step, chain in chains.items():
        wanted = z0 @ np.linalg.matrix_power(m, step).T
        # Ten float32 products of vectors of order 1: rounding below 1e-5.
        np.testing.assert_allclose(chain.z.numpy(), wanted, rtol=0, atol=1e-5)


def test_z0_depends_on_the_latents_and_the_seed_alone() -> None:
    record: tuple[int, ...] = (0,)
    narrow = VAEConfig(latent_dim=LATENTS, net=MLPConfig(widths=(4,))).build((1, 2, 2))
    wide = VAEConfig(latent_dim=LATENTS, net=MLPConfig(widths=(8, 8)), noise=1.0)
    z0 = [
        _run(model, record, 10)[0].z
        for model in (Linear(), Deterministic(), narrow, wide.build((1, 8, 8)))
    ]
    assert all(torch.equal(z, z0[0]) for z in z0)
    assert len(torch.unique(z0[0], dim=0)) == 10


def test_batch_and_running_statistics_are_two_chains() -> None:
    """Batch mode leaves the running averages alone, and does not use them."""
    model = Toy()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm1d)):
        assert norm.running_mean is not None
        norm.running_mean += 1.0
    before = digest(model)
    z = {}
    for mode in ("batch", "running"):
        config = ChainConfig(sampler=EncodeDecode(), record=(0, 2), sub_batch=8, batch_norm=mode)  # type: ignore[arg-type]
        z[mode] = [r.chain.z for r in run_chain(model, config, 8)]
        assert digest(model) == before
    assert torch.equal(z["batch"][0], z["running"][0])
    assert not torch.allclose(z["batch"][1], z["running"][1])
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm1d)):
        assert norm.running_mean is not None
        norm.running_mean -= 1.0
    config = ChainConfig(sampler=EncodeDecode(), record=(0, 2), sub_batch=8)
    assert torch.equal([r.chain.z for r in run_chain(model, config, 8)][1], z["batch"][1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"record": ()}, "record must be"),
        ({"record": (1, 2)}, "record must be"),
        ({"record": (0, 2, 1)}, "record must be"),
        ({"record": (0, 1, 1)}, "record must be"),
        ({"record": (0, 1.5)}, "record must be"),
        ({"sub_batch": 0}, "sub_batch must be"),
        ({"sub_batch": 1}, "sub_batch must be >= 2, got sub_batch=1"),
        ({"sub_batch": True}, "sub_batch must be"),
        ({"num_chains": 0}, "num_chains must be"),
        ({"seed": 1.5}, "seed must"),
        ({"batch_norm": "both"}, "batch_norm must be"),
    ],
)
def test_a_chain_config_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChainConfig(sampler=EncodeDecode(), **settings)


def test_padding_is_to_whole_sub_batches() -> None:
    config = ChainConfig(sampler=EncodeDecode(), sub_batch=4)
    assert [config.round_up(n) for n in (1, 4, 5, 8, 9)] == [4, 4, 8, 8, 12]
