import itertools
import math

import pytest
import torch

from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.models.base import Batch
from genae_core.models.likelihoods import GaussianPixels
from genae_core.models.optimizers import AdamConfig
from genae_core.models.vae import VAE, VAEConfig, negative_denoising_bound, negative_elbo
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.flow import FlowConfig, FlowPriorConfig
from genae_core.priors.mixture import RingPriorConfig
from genae_core.priors.normal import IsotropicNormal
from genae_core.priors.swiss_roll import SwissRollPriorConfig
from genae_core.priors.uniform import UniformPriorConfig
from genae_core.priors.vamp import VampPriorConfig
from genae_core.testing.model import ModelContract
from genae_core.testing.toys import images

NET = MLPConfig(widths=(32,))


class TestVAE(ModelContract):
    config = VAEConfig(latent_dim=3, net=NET)


class TestDVAE(ModelContract):
    noise = 0.5
    config = VAEConfig(latent_dim=3, net=NET, noise=noise)


class TestDropoutVAE(ModelContract):
    config = VAEConfig(latent_dim=3, net=MLPConfig(widths=(32,), dropout=0.2))


class TestVAEConvolutional(ModelContract):
    shape = (3, 32, 32)
    config = VAEConfig(
        latent_dim=4, net=DCGANConfig(width=4), optimizer=AdamConfig(learning_rate=1e-2)
    )


def _batch(x: torch.Tensor) -> Batch:
    return Batch(x, torch.full((len(x),), -1))


def _model(noise: float) -> VAE:
    with Draw(1).as_global():
        return VAEConfig(latent_dim=3, net=NET, noise=noise).build((1, 8, 8))


def test_the_family_is_named_by_the_noise() -> None:
    assert VAEConfig(latent_dim=2).family == "VAE"
    assert VAEConfig(latent_dim=2, noise=0.1).family == "DVAE"


def test_negative_elbo_is_its_formula() -> None:
    """The test computes it in float64 from the definition, with the noise in the same order."""
    for noise in (0.0, 0.5):
        model = _model(noise).eval()
        x = images(6, (1, 8, 8))
        loss, terms = negative_elbo(model, _batch(x), Draw(5))
        draw = Draw(5)
        corrupted = x + noise * draw.normal((6, 1, 8, 8)) if noise else x
        eps = draw.normal((6, 3)).double()
        with torch.no_grad():
            out = model.encoder(corrupted)
            mean, log_var = out[:, :3].double(), out[:, 3:].double()
            z = mean + torch.exp(log_var / 2) * eps
            p = torch.sigmoid(model.decoder(z.float()).double())
        clean = x.double()
        nats = -(clean * p.log() + (1 - clean) * (1 - p).log()).sum((1, 2, 3)).mean()
        kl = (0.5 * (mean**2 + log_var.exp() - log_var - 1)).sum(1).mean()
        assert terms.keys() == {"reconstruction", "kl"}
        # float32 sums of 64 pixels of order 1: relative error below 64 * 6e-8 = 4e-6.
        torch.testing.assert_close(terms["reconstruction"].double(), nats, rtol=1e-5, atol=0)
        torch.testing.assert_close(terms["kl"].double(), kl, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(loss.double(), nats + kl, rtol=1e-5, atol=0)


def test_the_kl_term_equals_monte_carlo() -> None:
    """It is the mean over images of E_q[log q(z|x) - log p(z)], computed from densities."""
    model = _model(0.0).eval()
    x = images(4, (1, 8, 8))
    with torch.no_grad():
        _, terms = negative_elbo(model, _batch(x), Draw(0))
        q = model.encode(x)
        q = Normal(q.mean.double(), q.log_var.double())
        n = 20_000
        z = q.sample(Draw(1), (n,))
        log_p = -0.5 * (z**2 + math.log(2 * math.pi))
        values = (q.log_prob(z) - log_p).sum(2).mean(1)
    # Independent over the n samples: 5 standard errors of their mean.
    error = float(values.std()) / math.sqrt(n)
    assert abs(float(values.mean()) - float(terms["kl"])) < 5 * error


def test_the_loss_reconstructs_the_clean_image() -> None:
    """A decoder that always gives x itself has no loss, however much the input is corrupted."""
    model = _model(2.0).eval()
    x = images(1, (1, 8, 8)).repeat(4, 1, 1, 1)
    with torch.no_grad():
        top = model.decoder[0][-1]
        top.weight.zero_()
        top.bias.copy_(60 * (2 * x[0].flatten() - 1))  # sigmoid(60) = 1 to float32
        _, terms = negative_elbo(model, _batch(x), Draw(0))
    assert abs(float(terms["reconstruction"])) < 1e-6


class TestBetaVAE(ModelContract):
    config = VAEConfig(latent_dim=3, net=NET, beta=4.0)
    epochs = 16


class TestDenoisingBound(ModelContract):
    noise = 0.5
    config = VAEConfig(latent_dim=3, net=NET, noise=noise, corruptions=4)


class TestGaussianDecoder(ModelContract):
    config = VAEConfig(latent_dim=3, net=NET, likelihood=GaussianPixels())


class TestGaussianDecoderConvolutional(ModelContract):
    shape = (3, 32, 32)
    config = VAEConfig(
        latent_dim=4,
        net=DCGANConfig(width=4),
        likelihood=GaussianPixels(sd=0.3),
        optimizer=AdamConfig(learning_rate=1e-2),
    )


class TestRingVAE(ModelContract):
    config = VAEConfig(latent_dim=2, net=NET, prior=RingPriorConfig())


class TestFlowPriorVAE(ModelContract):
    waits_for_gpu = True
    config = VAEConfig(
        latent_dim=3,
        net=NET,
        prior=FlowPriorConfig(flow=FlowConfig(transforms=2, widths=(16,))),
    )


class TestVampVAE(ModelContract):
    config = VAEConfig(latent_dim=3, net=NET, prior=VampPriorConfig(components=5))


def test_beta_weighs_the_kl() -> None:
    with Draw(1).as_global():
        model = VAEConfig(latent_dim=3, net=NET, beta=4.0).build((1, 8, 8)).eval()
    loss, terms = negative_elbo(model, _batch(images(6, (1, 8, 8))), Draw(5))
    torch.testing.assert_close(loss, terms["reconstruction"] + 4 * terms["kl"])
    assert model.config.family == "β-VAE"


class Line(torch.nn.Module):
    """A scalar linear-Gaussian model as a VAE of one pixel: log p(x) is known exactly.

    p(z) = N(0, 1), p(x|z) = N(z, s^2), q(z|x~) = N(a x~, t^2).
    """

    latent_dim = 1
    a, t, s = 0.6, 0.5, 0.7

    def __init__(self, corruptions: int) -> None:
        super().__init__()
        self.config = VAEConfig(latent_dim=1, noise=0.5, corruptions=corruptions)
        self.prior = IsotropicNormal(1)

    def corrupt(self, x: torch.Tensor, draw: Draw) -> torch.Tensor:
        return x + 0.5 * draw.normal(tuple(x.shape))

    def encode(self, x: torch.Tensor) -> Normal:
        mean = self.a * x.flatten(1)
        return Normal(mean, torch.full_like(mean, 2 * math.log(self.t)))

    def decode(self, z: torch.Tensor) -> Normal:
        mean = z.reshape(-1, 1, 1, 1)
        return Normal(mean, torch.full_like(mean, 2 * math.log(self.s)))


def test_the_denoising_bound_tightens_with_the_corruptions_and_stays_a_bound() -> None:
    """It stays below log p(x) = log N(x; 0, 1 + s^2); at M = 1 it is the denoising criterion."""
    n = 60_000
    x = torch.full((n, 1, 1, 1), 0.8)
    batch = _batch(x)

    def bound(count: int) -> tuple[float, float]:
        model = Line(count)
        blocks = [
            -float(negative_denoising_bound(model, _batch(part), Draw(count, number))[0])  # type: ignore[arg-type]
            for number, part in enumerate(x.split(2_000))
        ]
        values = torch.tensor(blocks)
        return float(values.mean()), float(values.std()) / math.sqrt(len(blocks))

    bounds = {count: bound(count) for count in (1, 2, 5, 20)}
    variance = 1 + Line.s**2
    exact = -0.5 * (0.8**2 / variance + math.log(2 * math.pi * variance))
    for (_, (low, e1)), (_, (high, e2)) in itertools.pairwise(bounds.items()):
        assert high > low - 5 * math.hypot(e1, e2)
    assert bounds[20][0] > bounds[1][0] + 5 * math.hypot(bounds[1][1], bounds[20][1])
    assert bounds[20][0] < exact + 5 * bounds[20][1]
    criterion = -float(negative_elbo(Line(1), batch, Draw(9))[0])  # type: ignore[arg-type]
    assert abs(criterion - bounds[1][0]) < 10 * bounds[1][1]


def test_the_mixture_of_the_bound_is_that_of_its_definition() -> None:
    """The test computes it pair by pair, with the noise in the same order."""
    config = VAEConfig(latent_dim=3, net=NET, noise=0.5, corruptions=3)
    with Draw(1).as_global():
        model = config.build((1, 8, 8)).eval()
    x = images(2, (1, 8, 8))
    with torch.no_grad():
        loss, terms = negative_denoising_bound(model, _batch(x), Draw(5))
        draw = Draw(5)
        corrupted = x.repeat(3, 1, 1, 1) + 0.5 * draw.normal((6, 1, 8, 8))
        q = model.encode(corrupted)
        z = q.mean + (q.log_var / 2).exp() * draw.normal((6, 3))
        total = 0.0
        for image in range(2):
            for m in range(3):
                code = z[2 * m + image]
                each = [
                    torch.distributions.Normal(
                        q.mean[2 * j + image], (q.log_var[2 * j + image] / 2).exp()
                    )
                    .log_prob(code)
                    .sum()
                    for j in range(3)
                ]
                log_q = torch.stack(each).logsumexp(0) - math.log(3)
                log_p = -0.5 * (code.square() + math.log(2 * math.pi)).sum()
                total += float(log_q - log_p) / 6
    assert float(terms["kl"]) == pytest.approx(total, rel=1e-4)
    assert float(loss) == pytest.approx(float(terms["reconstruction"]) + total, rel=1e-5)


def test_unfit_priors_and_settings_are_refused() -> None:
    for prior in (UniformPriorConfig(), SwissRollPriorConfig()):
        with pytest.raises(ValueError, match="its prior needs a density above 0 everywhere"):
            VAEConfig(latent_dim=2, prior=prior).build((1, 8, 8))
    with pytest.raises(ValueError, match="several corruptions need noise > 0 and beta = 1"):
        VAEConfig(latent_dim=2, corruptions=3)
    with pytest.raises(ValueError, match="beta"):
        VAEConfig(latent_dim=2, beta=-1.0)
