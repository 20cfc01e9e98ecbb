"""The adversarial autoencoder with a deterministic encoder, and with `noise` its denoising form
(DAAE).

Creswell et al. 2017, sections 2.1, 2.2 and 4.1; Makhzani et al. 2016.
"""

from dataclasses import dataclass, field

from torch import Tensor

from genae_core.config import require_finite, require_positive_int
from genae_core.distributions import Bernoulli, Delta
from genae_core.divergences.f_divergence import (
    jensen_shannon_critic_loss,
    non_saturating_loss,
)
from genae_core.draw import Draw
from genae_core.models.base import AdamConfig, Autoencoder, Phase, Player, Stage, add_noise
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.priors.base import Prior, PriorConfig
from genae_core.priors.normal import NormalPriorConfig

# Adam as Creswell et al. 2017, section 4.3, give it.
ADVERSARIAL = AdamConfig(learning_rate=2e-4, beta1=0.5)


@dataclass(frozen=True, kw_only=True)
class AAEConfig:
    """An AAE, or a DAAE where noise > 0 (the standard deviation of the corruption).

    `optimizer` steps the reconstruction, `adversarial_optimizer` the critic and the encoder's
    answer to it.
    """

    latent_dim: int
    noise: float = 0.0
    net: NetConfig = field(default_factory=MLPConfig)
    prior: PriorConfig = field(default_factory=NormalPriorConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)
    adversarial_optimizer: AdamConfig = ADVERSARIAL

    def __post_init__(self) -> None:
        require_positive_int(latent_dim=self.latent_dim)
        require_finite(0, noise=self.noise)

    @property
    def family(self) -> str:
        return "DAAE" if self.noise > 0 else "AAE"

    def build(self, shape: Shape) -> "AAE":
        return AAE(self, shape)


class AAE(Autoencoder):
    """q(z|x) a point, p(x|z) independent Bernoulli pixels, and a critic over z."""

    def __init__(self, config: AAEConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        self.encoder = config.net.build_encoder(shape, config.latent_dim)
        self.decoder = config.net.build_decoder(config.latent_dim, shape)
        self.prior = config.prior.build(config.latent_dim)
        self.critic = config.critic.build(config.latent_dim)

    def latent_prior(self) -> Prior:
        return self.prior

    def encode(self, x: Tensor) -> Delta:
        return Delta(self.encoder(x))

    def decode(self, z: Tensor) -> Bernoulli:
        return Bernoulli(self.decoder(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.config.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        """Makhzani et al. 2016, section 2: reconstruction, then critic, then encoder."""
        encoder, decoder = list(self.encoder.parameters()), list(self.decoder.parameters())
        adam, adversarial = self.config.optimizer, self.config.adversarial_optimizer
        phases = (
            Phase(Player("autoencoder", encoder + decoder, adam), reconstruction_loss),
            Phase(Player("critic", list(self.critic.parameters()), adversarial), critic_loss),
            Phase(Player("encoder", encoder, adversarial), encoder_loss),
        )
        return (Stage("autoencoder", phases),)


def reconstruction_loss(model: AAE, x: Tensor, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """-log p(x|z), z = e(x~), nats an image. Creswell et al. 2017, section 2."""
    z = model.encode(model.corrupt(x, draw)).mean
    reconstruction = -model.decode(z).log_prob(x).flatten(1).sum(1).mean()
    return reconstruction, {"reconstruction": reconstruction}


def critic_loss(model: AAE, x: Tensor, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """The critic tells z ~ p(z) from z = e(x~). Creswell et al. 2017, section 2.1."""
    encoded = model.encode(model.corrupt(x, draw)).mean.detach()
    prior = model.latent_prior().sample(draw, (len(x),))
    loss = jensen_shannon_critic_loss(model.critic(prior, draw), model.critic(encoded, draw))
    return loss, {"critic": loss}


def encoder_loss(model: AAE, x: Tensor, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """The encoder moves e(x~) to where the critic sees the prior. Creswell et al. 2017, 2.1."""
    encoded = model.encode(model.corrupt(x, draw)).mean
    loss = non_saturating_loss(model.critic(encoded, draw))
    return loss, {"encoder": loss}
