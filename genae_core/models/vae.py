"""The variational autoencoder, and with `noise` its denoising form (DVAE).

Creswell et al. 2017, sections 2.1 and 2.2; Kingma & Welling 2014.
"""

from dataclasses import dataclass, field

from torch import Tensor

from genae_core.config import require_finite, require_positive_int
from genae_core.distributions import Bernoulli, Normal
from genae_core.draw import Draw
from genae_core.models.base import AdamConfig, Autoencoder, Phase, Player, Stage, add_noise
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.base import Prior, PriorConfig
from genae_core.priors.normal import NormalPriorConfig


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """A VAE, or a DVAE where noise > 0 (the standard deviation of the corruption)."""

    latent_dim: int
    noise: float = 0.0
    net: NetConfig = field(default_factory=MLPConfig)
    prior: PriorConfig = field(default_factory=NormalPriorConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        require_positive_int(latent_dim=self.latent_dim)
        require_finite(0, noise=self.noise)

    @property
    def family(self) -> str:
        return "DVAE" if self.noise > 0 else "VAE"

    def build(self, shape: Shape) -> "VAE":
        return VAE(self, shape)


class VAE(Autoencoder):
    """q(z|x) a diagonal Gaussian, p(x|z) independent Bernoulli pixels."""

    def __init__(self, config: VAEConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        self.encoder = config.net.build_encoder(shape, 2 * config.latent_dim)
        self.decoder = config.net.build_decoder(config.latent_dim, shape)
        self.prior = config.prior.build(config.latent_dim)

    def latent_prior(self) -> Prior:
        return self.prior

    def encode(self, x: Tensor) -> Normal:
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        return Normal(mean, log_var)

    def decode(self, z: Tensor) -> Bernoulli:
        return Bernoulli(self.decoder(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.config.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        player = Player("autoencoder", list(self.parameters()), self.config.optimizer)
        return (Stage("autoencoder", (Phase(player, negative_elbo),)),)


def negative_elbo(model: VAE, x: Tensor, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """-E_q(z|x~)[log p(x|z)] + KL(q(z|x~) || p(z)), nats an image, one sample of z.

    x: [B, C, H, W]. Kingma & Welling 2014, eq. 10; on corrupted x~ the denoising criterion of
    Creswell et al. 2017, section 2.2 (the reconstruction is of the clean x).
    """
    q = model.encode(model.corrupt(x, draw))
    z = q.sample(draw)
    reconstruction = -model.decode(z).log_prob(x).flatten(1).sum(1).mean()
    kl = model.prior.kl(q, z).mean()
    return reconstruction + kl, {"reconstruction": reconstruction, "kl": kl}
