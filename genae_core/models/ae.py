"""The plain autoencoder (AE), and the denoising one with corrupted inputs (DAE).

Vincent et al. 2008. With dropout in its encoder, the AE is the autoencoder of Li et al. 2015,
section 4. The training does not move the codes to a known distribution. To sample images, fit a
distribution to the codes (FlowAE, AdvAE, GMMN+AE, ex-post), or draw z from the nominal prior.
Shapes: B batch, C channels, H rows, W columns, D latent dimension.
"""

from dataclasses import dataclass, field

from torch import Tensor

from genae_core.config import register, require_finite, require_positive_int
from genae_core.distributions.base import Delta, Distribution
from genae_core.distributions.rng import Draw
from genae_core.models.base import Autoencoder, Batch, Phase, Player, Stage, add_noise
from genae_core.models.config import ModelConfig
from genae_core.models.likelihoods import BernoulliPixels, Likelihood
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.base import Prior, PriorConfig, check_fixed
from genae_core.priors.normal import NormalPriorConfig


@register("ae")
@dataclass(frozen=True, kw_only=True)
class AEConfig(ModelConfig):
    """The config of an AE, or of a DAE if noise > 0.

    Args:
        latent_dim: The dimension D of the latent code.
        noise: The standard deviation of the corruption.
        net: The networks of the encoder and the decoder.
        prior: The nominal prior; the training does not enforce it.
        likelihood: The distribution of an image given its code.
        optimizer: The optimiser.

    Raises:
        ValueError: A value is out of range.
    """

    latent_dim: int
    noise: float = 0.0
    net: NetConfig = field(default_factory=MLPConfig)
    prior: PriorConfig = field(default_factory=NormalPriorConfig)
    likelihood: Likelihood = field(default_factory=BernoulliPixels)
    optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        require_positive_int(latent_dim=self.latent_dim)
        require_finite(0, noise=self.noise)

    @property
    def family(self) -> str:
        return "DAE" if self.noise > 0 else "AE"

    def build(self, shape: Shape) -> "AE":
        return AE(self, shape)


class AE(Autoencoder):
    """An autoencoder with a deterministic encoder z = e(x).

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape, or the
            prior is learned.
    """

    def __init__(self, config: AEConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        maps = (config.likelihood.maps(shape[0]), *shape[1:])
        self.encoder = config.net.build_encoder(shape, config.latent_dim)
        self.decoder = config.net.build_decoder(config.latent_dim, maps)
        self.prior = config.prior.build(config.latent_dim)
        check_fixed(self.prior, config.family)

    def latent_prior(self) -> Prior:
        return self.prior

    def encode(self, x: Tensor) -> Delta:
        return Delta(self.encoder(x))

    def decode(self, z: Tensor) -> Distribution:
        return self.config.likelihood.distribution(self.decoder(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.config.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        player = Player("autoencoder", list(self.parameters()), self.config.optimizer)
        return (Stage("autoencoder", (Phase(player, reconstruction_loss),)),)


def reconstruction_loss(
    model: Autoencoder, batch: Batch, draw: Draw
) -> tuple[Tensor, dict[str, Tensor]]:
    """-E[log p(x|z)], z ~ q(z|x~), in nats per image: the mean over images of the sum over pixels.

    Creswell et al. 2017, section 2; Sridhar & Srivastava, eq. 3.
    """
    z = model.encode(model.corrupt(batch.x, draw)).sample(draw)
    reconstruction = -model.decode(z).log_prob(batch.x).flatten(1).sum(1).mean()
    return reconstruction, {"reconstruction": reconstruction}
