"""The adversarial autoencoder that separates style and class (Makhzani et al. 2016, section 3.2).

The decoder also receives the class, so the encoder gives the style only. A latent code z [B, D +
K] is the style followed by the one-hot class.
Shapes: B batch, C channels, H rows, W columns, D style dimension, K classes.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from genae_core.config import register, require, require_finite, require_positive_int
from genae_core.distributions.base import Delta, Distribution
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.f_divergence import FDivergence
from genae_core.models.aae import ADVERSARIAL
from genae_core.models.base import Autoencoder, Batch, Phase, Player, Stage, add_noise
from genae_core.models.config import ModelConfig
from genae_core.models.likelihoods import BernoulliPixels, Likelihood
from genae_core.models.matching import Matching, check_critic, sample_prior
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.priors.base import Prior, PriorConfig, check_fixed
from genae_core.priors.codes import sample_classes
from genae_core.priors.normal import NormalPriorConfig


class StyleAndClass:
    """The distribution of a style [D] from its prior, followed by a uniform one-hot class [K]."""

    def __init__(self, style: Prior, num_classes: int) -> None:
        self.style, self.num_classes = style, num_classes

    @property
    def mean(self) -> Tensor:
        style = self.style.mean
        return torch.cat([style, style.new_full((self.num_classes,), 1 / self.num_classes)])

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        style = self.style.sample(draw, sample_shape)
        return torch.cat([style, sample_classes(self.num_classes, sample_shape, draw)], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        raise TypeError("a one-hot class has no density: log_prob is undefined")


@register("style_aae")
@dataclass(frozen=True, kw_only=True)
class StyleAAEConfig(ModelConfig):
    """The config of an AAE that separates style and class.

    Args:
        style_dim: The dimension D of the style, whose distribution is moved to the prior.
        num_classes: The number K of classes.
        noise: The standard deviation of the corruption.
        divergence: The divergence between the styles and the prior; it needs a critic.
        net: The networks of the encoder and the decoder.
        prior: The prior of the style.
        likelihood: The distribution of an image given its code.
        critic: The critic.
        optimizer: The optimiser of the reconstruction.
        adversarial_optimizer: The optimiser of the critic, and of the encoder against the critic.

    Raises:
        ValueError: A value is out of range.
    """

    style_dim: int
    num_classes: int = field()  # field() hides the default of the base class.
    noise: float = 0.0
    divergence: Divergence = field(default_factory=FDivergence)
    net: NetConfig = field(default_factory=MLPConfig)
    prior: PriorConfig = field(default_factory=NormalPriorConfig)
    likelihood: Likelihood = field(default_factory=BernoulliPixels)
    critic: CriticConfig = field(default_factory=CriticConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)
    adversarial_optimizer: AdamConfig = ADVERSARIAL

    def __post_init__(self) -> None:
        require_positive_int(style_dim=self.style_dim, num_classes=self.num_classes)
        require(self.num_classes >= 2, "num_classes must be >= 2", num_classes=self.num_classes)
        require_finite(0, noise=self.noise)
        check_critic(self.family, self.divergence)

    @property
    def latent_dim(self) -> int:
        return self.style_dim + self.num_classes

    @property
    def family(self) -> str:
        return "style AAE"

    def build(self, shape: Shape) -> "StyleAAE":
        return StyleAAE(self, shape)


class StyleAAE(Autoencoder):
    """An AAE whose encoder gives the style only, and whose decoder also receives the class.

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape, or the
            prior is learned.
    """

    def __init__(self, config: StyleAAEConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        maps = (config.likelihood.maps(shape[0]), *shape[1:])
        self.encoder = config.net.build_encoder(shape, config.style_dim)
        self.decoder = config.net.build_decoder(config.latent_dim, maps)
        self.prior = config.prior.build(config.style_dim)
        check_fixed(self.prior, config.family)
        self.critic = config.critic.build(config.style_dim)

    def latent_prior(self) -> StyleAndClass:
        return StyleAndClass(self.prior, self.config.num_classes)

    def encode(self, x: Tensor) -> Delta:
        """The style e(x), followed by the class k with the largest log p(x | e(x), k).

        A chain has no labels, so the class is the one for which x is most likely. All classes have
        the same prior probability.
        """
        style = self.encoder(x)
        return Delta(torch.cat([style, self._likeliest_classes(x, style)], 1))

    def decode(self, z: Tensor) -> Distribution:
        return self.config.likelihood.distribution(self.decoder(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.config.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        """Reconstruction, then the critic, then the encoder."""
        encoder, decoder = list(self.encoder.parameters()), list(self.decoder.parameters())
        adam, adversarial = self.config.optimizer, self.config.adversarial_optimizer
        matching = Matching(
            self.config.divergence,
            critic=lambda model: model.critic,
            codes=encode_styles,
            target=sample_prior,
        )
        phases = (
            Phase(Player("autoencoder", encoder + decoder, adam), labelled_reconstruction_loss),
            *matching.critic_phases(self, adversarial),
            Phase(Player("encoder", encoder, adversarial), matching.codes_loss),
        )
        return (Stage("autoencoder", phases),)

    def _likeliest_classes(self, x: Tensor, style: Tensor) -> Tensor:
        """The class with the largest log p(x | style, class) for each image, one-hot [B, K]."""
        classes = torch.eye(self.config.num_classes, device=x.device)
        log_likelihoods = []
        for one_hot in classes:
            z = torch.cat([style, one_hot.expand(len(x), -1)], 1)
            log_likelihoods.append(self.decode(z).log_prob(x).flatten(1).sum(1))
        return classes[torch.stack(log_likelihoods, 1).argmax(1)]


def labelled_reconstruction_loss(
    model: StyleAAE, batch: Batch, draw: Draw
) -> tuple[Tensor, dict[str, Tensor]]:
    """-log p(x | e(x~), y), in nats per image, over the images whose class y is known.

    Makhzani et al. 2016, section 3.2. Images of unknown class are used only to move the styles to
    the prior: with guessed classes, the decoder would learn to ignore the class.
    """
    style = model.encoder(model.corrupt(batch.x, draw))
    classes = F.one_hot(batch.labels.clamp_min(0), model.config.num_classes).float()
    nats = -model.decode(torch.cat([style, classes], 1)).log_prob(batch.x).flatten(1).sum(1)
    known = (batch.labels >= 0).float()
    reconstruction = (nats * known).sum() / known.sum().clamp_min(1)
    return reconstruction, {"reconstruction": reconstruction}


def encode_styles(model: StyleAAE, batch: Batch, draw: Draw) -> Tensor:
    """The styles e(x~), [B, D], of the corrupted images x~ of the batch."""
    style: Tensor = model.encoder(model.corrupt(batch.x, draw))
    return style
