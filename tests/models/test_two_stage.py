"""The families with a distribution that is fitted to cached codes."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.divergences.f_divergence import FDivergence
from genae_core.divergences.mmd import MMD
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.models.aae import AAEConfig
from genae_core.models.adv_ae import AdvAEConfig
from genae_core.models.ae import AEConfig
from genae_core.models.base import Batch, Examples
from genae_core.models.ex_post_ae import ExPostAEConfig
from genae_core.models.flow_ae import FlowAEConfig, flow_loss
from genae_core.models.gmmn_ae import GMMNAEConfig
from genae_core.models.optimizers import AdamConfig
from genae_core.models.two_stage import AffineDistribution, cache_codes
from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import CriticConfig, GeneratorConfig, MLPConfig
from genae_core.priors.flow import FlowConfig
from genae_core.priors.normal import IsotropicNormal
from genae_core.testing.model import ModelContract
from genae_core.testing.toys import digest, images
from genae_core.training.checkpoint import build_model, load_model, save_model
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import fit

NET, CRITIC = MLPConfig(widths=(32,)), CriticConfig(widths=(16,), dropout=0.0)
GENERATOR = GeneratorConfig(widths=(16,))
AE = AEConfig(latent_dim=3, net=NET)
FLOW = FlowConfig(transforms=2, widths=(16,))
SHAPE = (1, 8, 8)


class TestFlowAE(ModelContract):
    waits_for_gpu = True
    config = FlowAEConfig(autoencoder=AE, flow=FLOW)


class TestFlowAESpline(ModelContract):
    config = FlowAEConfig(
        autoencoder=AE, flow=FlowConfig(kind="spline", transforms=2, widths=(16,)), epochs=2
    )


class TestFlowOnDVAE(ModelContract):
    noise = 0.5
    config = FlowAEConfig(
        autoencoder=VAEConfig(latent_dim=3, net=NET, noise=0.5),
        flow=FlowConfig(kind="planar", transforms=2),
    )


class TestAdvAE(ModelContract):
    without_gradient = ("critic.top.bias",)
    config = AdvAEConfig(autoencoder=AE, critic=CRITIC, generator=GENERATOR)


class TestAdvAENonSaturating(ModelContract):
    config = AdvAEConfig(
        autoencoder=AAEConfig(latent_dim=3, net=NET, critic=CRITIC),
        divergence=FDivergence(),
        critic=CRITIC,
        generator=GENERATOR,
    )


class TestGMMNAE(ModelContract):
    config = GMMNAEConfig(
        autoencoder=AEConfig(latent_dim=3, net=MLPConfig(widths=(32,), dropout=0.2)),
        generator=GENERATOR,
    )


class TestExPostAE(ModelContract):
    config = ExPostAEConfig(autoencoder=AE, components=2)


def curved(count: int, seed: int) -> Tensor:
    """Codes on a noisy arc, far from any Gaussian: [N, 2]."""
    angle = 3 * Draw(seed, "angle").uniform((count,))
    noise = 0.1 * Draw(seed, "noise").normal((count, 2))
    return torch.stack([3 * angle.cos(), 2 + 3 * angle.sin()], 1) + noise


FITTED: tuple[Any, ...] = (
    FlowAEConfig(
        autoencoder=AEConfig(latent_dim=2, net=NET),
        flow=FlowConfig(kind="spline", transforms=2, widths=(32,)),
        optimizer=AdamConfig(learning_rate=1e-2),
    ),
    AdvAEConfig(
        autoencoder=AEConfig(latent_dim=2, net=NET),
        # The weight of the penalty that Gulrajani et al. take for points in the plane.
        divergence=Wasserstein(penalty=0.1),
        critic=CriticConfig(widths=(64, 64), dropout=0.0),
        generator=GeneratorConfig(widths=(64, 64)),
        optimizer=AdamConfig(learning_rate=1e-3, beta1=0.5, beta2=0.9),
    ),
    GMMNAEConfig(
        autoencoder=AEConfig(latent_dim=2, net=NET),
        generator=GeneratorConfig(widths=(64,)),
        optimizer=AdamConfig(learning_rate=5e-3),
    ),
    ExPostAEConfig(autoencoder=AEConfig(latent_dim=2, net=NET), components=8),
)


EPOCHS = {"GMMN+AE": 40}  # the others need half as many


@pytest.mark.slow
@pytest.mark.parametrize("config", FITTED, ids=lambda config: config.family)
def test_the_fitted_distribution_is_that_of_the_codes(config: Any) -> None:
    """Its MMD to fresh codes is several times below that of a Gaussian with their moments."""
    with Draw(0).as_global():
        model = config.build((1, 1, 2))
    codes = curved(2_000, 0)
    model.autoencoder.encoder = torch.nn.Flatten()  # the image is the code
    examples = Examples(2_000, lambda i: Batch(codes[i].reshape(-1, 1, 1, 2), torch.zeros(len(i))))
    training = TrainingConfig(epochs=EPOCHS.get(config.family, 20), batch_size=100)
    fit(model, (model.code_stage(),), examples, training, Draw(1))
    fresh = curved(2_000, 1)
    mmd = MMD(kernel="rbf", scales=(0.05, 0.2, 1.0))
    with torch.no_grad():
        drawn = model.latent_prior().sample(Draw(2), (2_000,))
    gauss = fresh.mean(0) + Draw(3).normal((2_000, 2)) @ torch.linalg.cholesky(fresh.T.cov()).T
    assert float(mmd.between(fresh, drawn)) < 0.25 * float(mmd.between(fresh, gauss))


def test_codes_are_cached_standardised_and_without_randomness() -> None:
    with Draw(0).as_global():
        config = FlowAEConfig(autoencoder=VAEConfig(latent_dim=3, net=NET, noise=0.5), flow=FLOW)
        model = config.build(SHAPE).train()
    x = Draw(1).uniform((1_203, *SHAPE))
    draw = Draw(2)
    before, state = digest(model.autoencoder), draw.generator.get_state()
    examples = Examples(1_203, lambda index: Batch(x[index], torch.zeros(len(index))))
    codes = cache_codes(model, examples, draw).batch(np.arange(1_203)).x
    assert digest(model.autoencoder) == before
    assert torch.equal(draw.generator.get_state(), state)
    model.eval()
    with torch.no_grad():
        z = model.encode(x).mean
    torch.testing.assert_close(codes * model.scale + model.shift, z, rtol=0, atol=1e-5)
    torch.testing.assert_close(codes.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(codes.std(0), torch.ones(3), rtol=0, atol=1e-5)


def test_the_second_stage_leaves_the_autoencoder_alone() -> None:
    with Draw(0).as_global():
        model = FlowAEConfig(autoencoder=AE, flow=FLOW).build(SHAPE)
    before = digest(model.autoencoder)
    x = images(64, SHAPE)
    examples = Examples(64, lambda index: Batch(x[index], torch.zeros(len(index))))
    fit(model, model.stages()[-1:], examples, TrainingConfig(epochs=2, batch_size=16), Draw(0))
    assert digest(model.autoencoder) == before


def test_a_standardised_distribution_has_the_density_of_its_affine_map() -> None:
    shift, scale = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    distribution = AffineDistribution(IsotropicNormal(2), shift, scale)
    z = distribution.sample(Draw(0), (5,))
    wanted = torch.distributions.Normal(shift, scale).log_prob(z).sum(1)
    torch.testing.assert_close(distribution.log_prob(z), wanted)
    torch.testing.assert_close(distribution.mean, shift)


def test_the_losses_are_their_formulas() -> None:
    with Draw(0).as_global():
        flow = FlowAEConfig(autoencoder=AE, flow=FLOW).build(SHAPE)
        gmmn = GMMNAEConfig(autoencoder=AE, generator=GENERATOR).build(SHAPE)
    codes = Batch(Draw(1).normal((6, 3)), torch.full((6,), -1))
    with torch.no_grad():
        eps = flow.flow.flow().transform(codes.x)
        log_det = flow.flow.flow().transform.log_abs_det_jacobian(codes.x, eps)
        nats = 0.5 * (eps.square().sum(1) + 3 * math.log(2 * math.pi)) - log_det
        assert float(flow_loss(flow, codes, Draw(2))[0]) == pytest.approx(
            float(nats.mean()), rel=1e-5
        )
        made = gmmn.generator(2 * Draw(2).uniform((6, 3)) - 1)
        mmd = MMD(kernel="rbf", estimator="biased").between(codes.x, made)
        assert float(gmmn.code_stage().phases[0].loss(gmmn, codes, Draw(2))[0]) == pytest.approx(
            math.sqrt(float(mmd)), rel=1e-4
        )


def test_a_finished_autoencoder_is_loaded_from_its_checkpoint(tmp_path: Path) -> None:
    with Draw(5).as_global():
        trained = AE.build(SHAPE)
    folder = tmp_path / "ae"
    save_model(folder, trained, AE, SHAPE, Draw(0))
    config = FlowAEConfig(autoencoder=AE, finished=str(folder), flow=FLOW)
    model: Any = build_model(config, SHAPE)
    assert digest(model.autoencoder) == digest(trained)
    assert [stage.name for stage in model.stages()] == ["flow"]
    # A model that was built on the autoencoder is loaded without its checkpoint.
    whole = tmp_path / "flow"
    save_model(whole, model, model.config, SHAPE, Draw(0))
    shutil.rmtree(folder)
    loaded = load_model(whole)
    assert digest(loaded) == digest(model)
    assert [stage.name for stage in loaded.stages()] == ["flow"]


def test_a_checkpoint_of_another_family_is_refused_before_training(tmp_path: Path) -> None:
    other = VAEConfig(latent_dim=3, net=NET)
    with Draw(5).as_global():
        save_model(tmp_path / "vae", other.build(SHAPE), other, SHAPE, Draw(0))
    for config in (FlowAEConfig, AdvAEConfig, GMMNAEConfig, ExPostAEConfig):
        with pytest.raises(ValueError, match=r"must be of the autoencoder AEConfig.*VAEConfig"):
            build_model(config(autoencoder=AE, finished=str(tmp_path / "vae")), SHAPE)


def test_a_finished_autoencoder_without_its_weights_is_not_trained(tmp_path: Path) -> None:
    model = FlowAEConfig(autoencoder=AE, finished=str(tmp_path), flow=FLOW).build(SHAPE)
    with pytest.raises(ValueError, match="weights of the finished autoencoder are not loaded"):
        model.stages()
    examples = Examples(16, lambda index: Batch(images(16, SHAPE)[index], torch.zeros(16)))
    with pytest.raises(ValueError, match="weights of the finished autoencoder are not loaded"):
        cache_codes(model, examples, Draw(0))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="not on another two-stage model"):
        FlowAEConfig(autoencoder=FlowAEConfig())
    with pytest.raises(ValueError, match="AdvAE needs a divergence with a critic"):
        AdvAEConfig(divergence=MMD())
    with pytest.raises(ValueError, match="needs a divergence without a critic"):
        GMMNAEConfig(divergence=FDivergence())
    with pytest.raises(ValueError, match="epochs"):
        FlowAEConfig(epochs=0)
