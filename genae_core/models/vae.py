"""The variational autoencoder (VAE), the beta-VAE and the denoising VAE (DVAE).

Kingma & Welling 2014; Higgins et al. 2017; Creswell et al. 2017, sections 2.1 and 2.2; Im et al.
2017. Shapes: B batch, C channels, H rows, W columns, D latent dimension, M corruptions.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from genae_core.config import register, require, require_finite, require_positive_int
from genae_core.distributions.base import Distribution, Normal
from genae_core.distributions.rng import Draw
from genae_core.models.base import Autoencoder, Batch, Phase, Player, Stage, add_noise
from genae_core.models.config import ModelConfig
from genae_core.models.likelihoods import BernoulliPixels, Likelihood
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.base import Host, Prior, PriorConfig, check_density
from genae_core.priors.normal import NormalPriorConfig


@register("vae")
@dataclass(frozen=True, kw_only=True)
class VAEConfig(ModelConfig):
    """The config of a VAE, or of a DVAE if noise > 0.

    Args:
        latent_dim: The dimension D of the latent code.
        noise: The standard deviation of the corruption.
        beta: The weight of the KL divergence; a value other than 1 gives the beta-VAE.
        corruptions: The number M of corruptions of each image in the bound of Im et al. 2017. With
            1, the loss is the denoising criterion, and it uses the closed form of the KL
            divergence if the prior has one.
        net: The networks of the encoder and the decoder.
        prior: The prior p(z). Its density must be above 0 everywhere.
        likelihood: The distribution of an image given its code.
        optimizer: The optimiser.

    Raises:
        ValueError: A value is out of range.
    """

    latent_dim: int
    noise: float = 0.0
    beta: float = 1.0
    corruptions: int = 1
    net: NetConfig = field(default_factory=MLPConfig)
    prior: PriorConfig = field(default_factory=NormalPriorConfig)
    likelihood: Likelihood = field(default_factory=BernoulliPixels)
    optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        require_positive_int(latent_dim=self.latent_dim, corruptions=self.corruptions)
        require_finite(0, noise=self.noise, beta=self.beta)
        require(
            self.corruptions == 1 or (self.noise > 0 and self.beta == 1),
            "several corruptions need noise > 0 and beta = 1",
            corruptions=self.corruptions,
            noise=self.noise,
            beta=self.beta,
        )

    @property
    def family(self) -> str:
        name = "DVAE" if self.noise > 0 else "VAE"
        return name if self.beta == 1 else f"β-{name}"

    def build(self, shape: Shape) -> "VAE":
        return VAE(self, shape)


class VAE(Autoencoder):
    """An autoencoder whose q(z|x) is a diagonal Gaussian, trained with the evidence lower bound.

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape, or the
            prior has no density above 0 everywhere.
    """

    def __init__(self, config: VAEConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        maps = (config.likelihood.maps(shape[0]), *shape[1:])
        self.encoder = config.net.build_encoder(shape, 2 * config.latent_dim)
        self.decoder = config.net.build_decoder(config.latent_dim, maps)
        self.prior = config.prior.build(config.latent_dim, Host(shape, self.encode))
        check_density(self.prior, config.family)

    def latent_prior(self) -> Prior:
        return self.prior

    def encode(self, x: Tensor) -> Normal:
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        return Normal(mean, log_var)

    def decode(self, z: Tensor) -> Distribution:
        return self.config.likelihood.distribution(self.decoder(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.config.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        player = Player("autoencoder", list(self.parameters()), self.config.optimizer)
        loss = negative_elbo if self.config.corruptions == 1 else negative_denoising_bound
        return (Stage("autoencoder", (Phase(player, loss),)),)


def negative_elbo(model: VAE, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """-E_q(z|x~)[log p(x|z)] + beta KL(q(z|x~) || p(z)), in nats per image, from one sample of z.

    Kingma & Welling 2014, eq. 10; Higgins et al. 2017, eq. 4. If the inputs x~ are corrupted, it
    is the denoising criterion of Creswell et al. 2017, section 2.2, and the clean x is
    reconstructed.
    """
    q = model.encode(model.corrupt(batch.x, draw))
    z = q.sample(draw)
    reconstruction = -model.decode(z).log_prob(batch.x).flatten(1).sum(1).mean()
    kl = model.prior.kl(q, z).mean()
    return reconstruction + model.config.beta * kl, {"reconstruction": reconstruction, "kl": kl}


def negative_denoising_bound(
    model: VAE, batch: Batch, draw: Draw
) -> tuple[Tensor, dict[str, Tensor]]:
    """-E[1/M sum_m log (p(x|z_m) p(z_m) / (1/M sum_j q(z_m|x~_j)))], in nats per image.

    Here x~_1, ..., x~_M are corruptions of x, and z_m ~ q(z|x~_m). It is the negative evidence
    lower bound of an encoder that corrupts its input, q~(z|x) = E_C(x~|x)[q(z|x~)], and q~ is
    estimated from the M corruptions (Im et al. 2017, eq. 6 and 7). Its negative is a lower bound
    on log p(x) for every M. With M = 1 it is `negative_elbo`; a larger M does not make the bound
    looser.
    """
    x, count = batch.x, model.config.corruptions
    copies = x.repeat(count, 1, 1, 1)
    q = model.encode(model.corrupt(copies, draw))
    z = q.sample(draw)
    reconstruction = -model.decode(z).log_prob(copies).flatten(1).sum(1).mean()
    shape = (count, len(x), model.latent_dim)
    mean, log_var, samples = (t.reshape(shape) for t in (q.mean, q.log_var, z))
    # log q(z_m | x~_j) for every pair of m and j: [M, M, B]
    log_q = Normal(mean[None], log_var[None]).log_prob(samples[:, None]).sum(3)
    log_mixture = torch.logsumexp(log_q, 1) - math.log(count)
    kl = (log_mixture.reshape(-1) - model.prior.log_prob(z)).mean()
    return reconstruction + kl, {"reconstruction": reconstruction, "kl": kl}
