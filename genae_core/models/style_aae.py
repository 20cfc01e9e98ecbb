"""The adversarial autoencoder whose decoder is told the class: style and content apart.

Makhzani et al. 2016, section 3.2. Shapes: B batch, C channels, H rows, W columns, D style
dimension, K classes. A code z [B, D + K] is the style beside the one-hot class.
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
from genae_core.models.base import AdamConfig, Autoencoder, Batch, Phase, Player, Stage, add_noise
from genae_core.models.likelihoods import BernoulliPixels, Likelihood
from genae_core.models.matching import Match, check_critic
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.priors.base import Prior, PriorConfig, check_fixed
from genae_core.priors.normal import NormalPriorConfig


class StyleAndClass:
    """A style of its prior, [D], beside a class drawn evenly, one-hot [K]."""

    def __init__(self, style: Prior, num_classes: int) -> None:
        self.style, self.num_classes = style, num_classes

    @property
    def mean(self) -> Tensor:
        style = self.style.mean
        return torch.cat([style, style.new_full((self.num_classes,), 1 / self.num_classes)])

    def sample(self, draw: Draw, sample_shape: tuple[int, ...] = ()) -> Tensor:
        style = self.style.sample(draw, sample_shape)
        return torch.cat([style, any_class(self.num_classes, sample_shape, draw)], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        raise TypeError("a one-hot class has no density: log_prob is undefined")


def any_class(num_classes: int, shape: tuple[int, ...], draw: Draw) -> Tensor:
    """One-hot classes drawn evenly, [*shape, K]."""
    drawn = (draw.uniform(shape) * num_classes).long().clamp_max(num_classes - 1)
    return F.one_hot(drawn, num_classes).float()


@register("style_aae")
@dataclass(frozen=True, kw_only=True)
class StyleAAEConfig:
    """style_dim: D, of the code that the prior shapes; num_classes: K, of the labels."""

    style_dim: int
    num_classes: int
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
    """e(x) gives the style alone; p(x|z) hears the class too."""

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
        """e(x) beside the class under which the decoder finds x most likely, as an image comes
        without its label: argmax_k log p(x | e(x), k), every class being as likely before."""
        style = self.encoder(x)
        return Delta(torch.cat([style, self._classes(x, style)], 1))

    def decode(self, z: Tensor) -> Distribution:
        return self.config.likelihood.distribution(self.decoder(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.config.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        encoder, decoder = list(self.encoder.parameters()), list(self.decoder.parameters())
        adam, adversarial = self.config.optimizer, self.config.adversarial_optimizer
        style = Match(self.config.divergence, lambda model: model.critic, styles_of, style_of)
        phases = (
            Phase(Player("autoencoder", encoder + decoder, adam), reconstruction_loss),
            *style.critic_phases(self, adversarial),
            Phase(Player("encoder", encoder, adversarial), style.codes_loss),
        )
        return (Stage("autoencoder", phases),)

    def _classes(self, x: Tensor, style: Tensor) -> Tensor:
        """One-hot [B, K]."""
        classes = torch.eye(self.config.num_classes, device=x.device)
        fits = [
            self.decode(torch.cat([style, k.expand(len(x), -1)], 1)).log_prob(x).flatten(1).sum(1)
            for k in classes
        ]
        return classes[torch.stack(fits, 1).argmax(1)]


def reconstruction_loss(
    model: StyleAAE, batch: Batch, draw: Draw
) -> tuple[Tensor, dict[str, Tensor]]:
    """-log p(x | e(x~), y), nats an image, over the images whose class y is known (Makhzani et al.
    2016, section 3.2). The others take part in what shapes the styles alone: a guessed class
    would teach the decoder not to listen."""
    style = model.encoder(model.corrupt(batch.x, draw))
    told = F.one_hot(batch.labels.clamp_min(0), model.config.num_classes).float()
    nats = -model.decode(torch.cat([style, told], 1)).log_prob(batch.x).flatten(1).sum(1)
    known = (batch.labels >= 0).float()
    reconstruction = (nats * known).sum() / known.sum().clamp_min(1)
    return reconstruction, {"reconstruction": reconstruction}


def styles_of(model: StyleAAE, batch: Batch, draw: Draw) -> Tensor:
    """e(x~), [B, D]."""
    style: Tensor = model.encoder(model.corrupt(batch.x, draw))
    return style


def style_of(model: StyleAAE, batch: Batch, draw: Draw) -> Tensor:
    """As many of the prior, [B, D]."""
    return model.prior.sample(draw, (len(batch.x),))
