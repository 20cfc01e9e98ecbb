import math

import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.divergences.mmd import MMD
from genae_core.models.ae import reconstruction_loss
from genae_core.models.base import Batch
from genae_core.models.cluster_aae import ClusterAAEConfig, reconstruction_and_heads
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.testing.model import ModelContract
from genae_core.testing.toys import images

NET, CRITIC = MLPConfig(widths=(32,)), CriticConfig(widths=(16,))


class TestClusterAAE(ModelContract):
    size_field = "style_dim"
    config = ClusterAAEConfig(style_dim=2, clusters=4, net=NET, critic=CRITIC)


class TestClusterHeads(ModelContract):
    size_field = "style_dim"
    config = ClusterAAEConfig(style_dim=2, clusters=4, code="head", net=NET, critic=CRITIC)


class TestClusterHeadsIn3D(ModelContract):
    size_field = "style_dim"
    noise = 0.3
    config = ClusterAAEConfig(
        style_dim=3, clusters=3, code="head", style_sd=0.5, noise=noise, net=NET, critic=CRITIC
    )


def test_the_code_is_style_and_cluster() -> None:
    x = images(5, (1, 8, 8))
    for code in ("beside", "head"):
        config = ClusterAAEConfig(style_dim=2, clusters=4, code=code, net=NET, critic=CRITIC)  # type: ignore[arg-type]
        with Draw(0).as_global():
            model = config.build((1, 8, 8)).eval()
        with torch.no_grad():
            style, y = model.parts(x)
            z = model.encode(x).mean
        torch.testing.assert_close(y.sum(1), torch.ones(5))
        if model.heads is None:
            assert torch.equal(z, torch.cat([style, y], 1))
        else:
            torch.testing.assert_close(z, style + (model.heads.T @ y.T).T)


def test_the_prior_of_the_heads_is_their_mixture() -> None:
    config = ClusterAAEConfig(style_dim=2, clusters=3, code="head", style_sd=0.5)
    with Draw(0).as_global():
        model = config.build((1, 8, 8))
    assert model.heads is not None
    prior = model.latent_prior()
    z = prior.sample(Draw(1), (20_000,))
    heads = model.heads.detach()
    nearest = torch.cdist(z, heads).min(1).values
    # |N(0, 0.25 I)| in the plane has mean square 0.5, where the heads are far apart.
    assert torch.pdist(heads).min() > 2
    assert float(nearest.square().mean()) == pytest.approx(0.5, rel=0.05)


def test_near_heads_are_pushed_apart() -> None:
    config = ClusterAAEConfig(
        style_dim=2, clusters=3, code="head", head_distance=2.0, net=NET, critic=CRITIC
    )
    with Draw(0).as_global():
        model = config.build((1, 8, 8)).eval()
    assert model.heads is not None
    with torch.no_grad():
        model.heads.copy_(torch.tensor([[0.0, 0.0], [1.5, 0.0], [0.0, 5.0]]))
    batch = Batch(images(4, (1, 8, 8)), torch.full((4,), -1))
    loss, terms = reconstruction_and_heads(model, batch, Draw(0))
    plain, _ = reconstruction_loss(model, batch, Draw(0))
    assert float(terms["crowding"].detach()) == pytest.approx(0.5)
    assert float((loss - plain).detach()) == pytest.approx(0.5, rel=1e-4)
    (gradient,) = torch.autograd.grad(terms["crowding"], model.heads)
    assert gradient[0].tolist() == pytest.approx([1, 0]) and gradient[2].norm() == 0
    assert math.isfinite(float(gradient.sum()))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="clusters must be >= 2"):
        ClusterAAEConfig(style_dim=2, clusters=1)
    with pytest.raises(ValueError, match='code must be "beside" or "head"'):
        ClusterAAEConfig(style_dim=2, clusters=3, code="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs a divergence with a critic"):
        ClusterAAEConfig(style_dim=2, clusters=3, divergence=MMD())
