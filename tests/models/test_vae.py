import math

import torch
from contracts.model import ModelContract
from contracts.toys import images

from genae_core.distributions import Normal
from genae_core.draw import Draw
from genae_core.models.base import AdamConfig, Batch
from genae_core.models.vae import VAE, VAEConfig, negative_elbo
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig

NET = MLPConfig(widths=(32,))


class TestVAE(ModelContract):
    config = VAEConfig(latent_dim=3, net=NET)


class TestDVAE(ModelContract):
    noise = 0.5
    config = VAEConfig(latent_dim=3, net=NET, noise=noise)


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
    """Recomputed in float64 from the definition, with the noise drawn in the same order."""
    for noise in (0.0, 0.5):
        model = _model(noise).eval()
        x = images(6, (1, 8, 8))
        loss, terms = negative_elbo(model, _batch(x), Draw(5))
        draw = Draw(5)
        seen = x + noise * draw.normal((6, 1, 8, 8)) if noise else x
        eps = draw.normal((6, 3)).double()
        with torch.no_grad():
            out = model.encoder(seen)
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
    """The mean over images of E_q[log q(z|x) - log p(z)], from densities alone."""
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
