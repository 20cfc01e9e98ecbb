"""The Wasserstein autoencoder: WAE-MMD and WAE-GAN.

Tolstikhin et al. 2018, eq. 4 and algorithms 1 and 2.
Shapes: B batch, C channels, H rows, W columns, D latent dimension.
"""

import math
from dataclasses import dataclass, field

from torch import Tensor, nn

from genae_core.config import register, require_finite, require_positive_int
from genae_core.distributions.base import Delta, Distribution
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.mmd import MMD
from genae_core.models.aae import ADVERSARIAL
from genae_core.models.base import Autoencoder, Batch, Phase, Player, Stage, add_noise
from genae_core.models.config import ModelConfig
from genae_core.models.likelihoods import GaussianPixels, Likelihood
from genae_core.models.matching import Matching, build_critic, sample_codes, sample_prior
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.priors.base import Prior, PriorConfig, check_fixed
from genae_core.priors.normal import NormalPriorConfig


@register("wae")
@dataclass(frozen=True, kw_only=True)
class WAEConfig(ModelConfig):
    """The config of a WAE-MMD, or of a WAE-GAN if the divergence has a critic.

    Args:
        latent_dim: The dimension D of the latent code.
        noise: The standard deviation of the corruption.
        weight: The weight lambda of the divergence between the codes and the prior.
        divergence: The divergence.
        net: The networks of the encoder and the decoder.
        prior: The prior p(z).
        likelihood: The distribution of an image given its code. Its negative logarithm is the cost
            c(x, x'), which by default is the squared error plus a constant.
        critic: The critic, if the divergence has one.
        optimizer: The optimiser of the encoder and the decoder.
        adversarial_optimizer: The optimiser of the critic.

    Raises:
        ValueError: A value is out of range.
    """

    latent_dim: int
    noise: float = 0.0
    weight: float = 100.0
    divergence: Divergence = field(default_factory=MMD)
    net: NetConfig = field(default_factory=MLPConfig)
    prior: PriorConfig = field(default_factory=NormalPriorConfig)
    likelihood: Likelihood = field(default_factory=lambda: GaussianPixels(sd=math.sqrt(0.5)))
    critic: CriticConfig = field(default_factory=CriticConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)
    adversarial_optimizer: AdamConfig = ADVERSARIAL

    def __post_init__(self) -> None:
        require_positive_int(latent_dim=self.latent_dim)
        require_finite(0, noise=self.noise, weight=self.weight)

    @property
    def family(self) -> str:
        return "WAE-GAN" if self.divergence.critic_steps else "WAE-MMD"

    def build(self, shape: Shape) -> "WAE":
        return WAE(self, shape)


class WAE(Autoencoder):
    """A deterministic autoencoder that minimises the cost and the divergence together.

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape, or the
            prior is learned.
    """

    critic: nn.Module | None

    def __init__(self, config: WAEConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        maps = (config.likelihood.maps(shape[0]), *shape[1:])
        self.encoder = config.net.build_encoder(shape, config.latent_dim)
        self.decoder = config.net.build_decoder(config.latent_dim, maps)
        self.prior = config.prior.build(config.latent_dim)
        check_fixed(self.prior, config.family)
        self.critic = build_critic(config.critic, config.divergence, config.latent_dim)

    def latent_prior(self) -> Prior:
        return self.prior

    def encode(self, x: Tensor) -> Delta:
        return Delta(self.encoder(x))

    def decode(self, z: Tensor) -> Distribution:
        return self.config.likelihood.distribution(self.decoder(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.config.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        """The critic's phase if there is one, then the phase of the encoder and the decoder."""
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        player = Player("autoencoder", parameters, self.config.optimizer)
        phases = (
            *self.matching().critic_phases(self, self.config.adversarial_optimizer),
            Phase(player, penalised_cost),
        )
        return (Stage("autoencoder", phases),)

    def matching(self) -> Matching:
        """The matching that moves q(z) to p(z)."""
        return Matching(
            self.config.divergence,
            critic=lambda model: model.critic,
            codes=sample_codes,
            target=sample_prior,
        )


def penalised_cost(model: WAE, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """E[c(x, d(e(x~)))] + lambda D(q(z), p(z)) (Tolstikhin et al. 2018, eq. 4)."""
    z = sample_codes(model, batch, draw)
    cost = -model.decode(z).log_prob(batch.x).flatten(1).sum(1).mean()
    divergence = model.matching().divergence_of(model, batch, z, draw)
    loss = cost + model.config.weight * divergence
    return loss, {"reconstruction": cost, "divergence": divergence}
