"""The adversarial autoencoder that finds clusters, and the one that lays them out in 2-D or 3-D.

Makhzani et al. 2016, in the paper's second version: section 5, unsupervised clustering, and
section 6, dimensionality reduction. Shapes: B batch, D style dimension, K clusters.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from genae_core.config import register, require, require_finite, require_positive_int
from genae_core.distributions.base import Delta, Distribution
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.f_divergence import FDivergence
from genae_core.models.aae import ADVERSARIAL
from genae_core.models.ae import reconstruction_loss
from genae_core.models.base import AdamConfig, Autoencoder, Batch, Phase, Player, Stage, add_noise
from genae_core.models.likelihoods import BernoulliPixels, Likelihood
from genae_core.models.matching import Match, check_critic
from genae_core.models.style_aae import StyleAndClass, any_class
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.priors.mixture import GaussianMixture
from genae_core.priors.normal import IsotropicNormal


@register("cluster_aae")
@dataclass(frozen=True, kw_only=True)
class ClusterAAEConfig:
    """style_dim: D; clusters: K. The encoder gives the style s and a softmax y over the clusters.

    code: "beside" is z = [s, y], of D + K dimensions; "head" is z = s + W y, of D, for which W
    [D, K] is learned and its columns, the cluster heads, are kept `head_distance` apart.
    style_sd: of the Gaussian that the styles are brought to.
    """

    style_dim: int
    clusters: int
    code: Literal["beside", "head"] = "beside"
    style_sd: float = 1.0
    head_distance: float = 4.0
    noise: float = 0.0
    divergence: Divergence = field(default_factory=FDivergence)
    net: NetConfig = field(default_factory=MLPConfig)
    likelihood: Likelihood = field(default_factory=BernoulliPixels)
    critic: CriticConfig = field(default_factory=CriticConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)
    adversarial_optimizer: AdamConfig = ADVERSARIAL

    num_classes: ClassVar[int] = 0

    def __post_init__(self) -> None:
        require_positive_int(style_dim=self.style_dim, clusters=self.clusters)
        require(self.clusters >= 2, "clusters must be >= 2", clusters=self.clusters)
        require(self.code in ("beside", "head"), 'code must be "beside" or "head"', code=self.code)
        require_finite(0, noise=self.noise, style_sd=self.style_sd)
        require_finite(0, head_distance=self.head_distance)
        require(self.style_sd > 0, "style_sd must be > 0", style_sd=self.style_sd)
        check_critic(self.family, self.divergence)

    @property
    def latent_dim(self) -> int:
        return self.style_dim + (self.clusters if self.code == "beside" else 0)

    @property
    def family(self) -> str:
        return "cluster AAE" if self.code == "beside" else "cluster-head AAE"

    def build(self, shape: Shape) -> "ClusterAAE":
        return ClusterAAE(self, shape)


class ClusterAAE(Autoencoder):
    """Two critics, one over the style and one over y, which is brought to one-hot vectors."""

    heads: nn.Parameter | None

    def __init__(self, config: ClusterAAEConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        maps = (config.likelihood.maps(shape[0]), *shape[1:])
        self.encoder = config.net.build_encoder(shape, config.style_dim + config.clusters)
        self.decoder = config.net.build_decoder(config.latent_dim, maps)
        self.style_prior = IsotropicNormal(config.style_dim, config.style_sd)
        self.style_critic = config.critic.build(config.style_dim)
        self.cluster_critic = config.critic.build(config.clusters)
        start = config.head_distance * torch.randn(config.clusters, config.style_dim)
        self.heads = nn.Parameter(start) if config.code == "head" else None

    def latent_prior(self) -> StyleAndClass | GaussianMixture:
        count, sd = self.config.clusters, self.config.style_sd
        if self.heads is None:
            return StyleAndClass(self.style_prior, count)
        weights = self.heads.new_full((count,), 1 / count)
        factors = sd * torch.eye(self.latent_dim, device=self.heads.device).repeat(count, 1, 1)
        return GaussianMixture(weights, self.heads.detach(), factors)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The style [B, D], and y [B, K], the clusters' probabilities."""
        outputs = self.encoder(x)
        style, logits = outputs.split([self.config.style_dim, self.config.clusters], 1)
        return style, logits.softmax(1)

    def encode(self, x: Tensor) -> Delta:
        style, y = self.parts(x)
        return Delta(torch.cat([style, y], 1) if self.heads is None else style + y @ self.heads)

    def decode(self, z: Tensor) -> Distribution:
        return self.config.likelihood.distribution(self.decoder(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.config.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        """Reconstruction, then each critic, then the encoder's answers to them."""
        encoder, decoder = list(self.encoder.parameters()), list(self.decoder.parameters())
        heads = [] if self.heads is None else [self.heads]
        adam, adversarial = self.config.optimizer, self.config.adversarial_optimizer
        divergence = self.config.divergence
        matches = (
            Match(
                divergence,
                lambda model: model.style_critic,
                _styles,
                _some_styles,
                terms=("style_critic", "style_encoder"),
            ),
            Match(
                divergence,
                lambda model: model.cluster_critic,
                _clusters,
                _some_clusters,
                terms=("cluster_critic", "cluster_encoder"),
            ),
        )
        cost = reconstruction_loss if self.heads is None else reconstruction_and_heads
        phases = (
            Phase(Player("autoencoder", [*encoder, *decoder, *heads], adam), cost),
            *(phase for m in matches for phase in m.critic_phases(self, adversarial)),
            *(Phase(Player("encoder", encoder, adversarial), m.codes_loss) for m in matches),
        )
        return (Stage("autoencoder", phases),)


def reconstruction_and_heads(
    model: ClusterAAE, batch: Batch, draw: Draw
) -> tuple[Tensor, dict[str, Tensor]]:
    """-log p(x|z), nats an image, and sum_{j<k} max(0, head_distance - |W_j - W_k|): heads that
    are nearer than that are pushed apart, others feel nothing."""
    reconstruction, _ = reconstruction_loss(model, batch, draw)
    assert model.heads is not None
    apart = torch.pdist(model.heads)
    crowding = (model.config.head_distance - apart).clamp_min(0).sum()
    return reconstruction + crowding, {"reconstruction": reconstruction, "crowding": crowding}


def _styles(model: ClusterAAE, batch: Batch, draw: Draw) -> Tensor:
    return model.parts(model.corrupt(batch.x, draw))[0]


def _clusters(model: ClusterAAE, batch: Batch, draw: Draw) -> Tensor:
    return model.parts(model.corrupt(batch.x, draw))[1]


def _some_styles(model: ClusterAAE, batch: Batch, draw: Draw) -> Tensor:
    return model.style_prior.sample(draw, (len(batch.x),))


def _some_clusters(model: ClusterAAE, batch: Batch, draw: Draw) -> Tensor:
    return any_class(model.config.clusters, (len(batch.x),), draw)
