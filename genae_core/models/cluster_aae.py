"""Adversarial autoencoders with clusters, which are found or learned from the labels of some
images, and which can be arranged in 2-D or 3-D.

Makhzani et al. 2016, second version: section 4 is on semi-supervised classification, section 5 on
unsupervised clustering, and section 6 on dimensionality reduction.
Shapes: B batch, C channels, H rows, W columns, D style dimension, K clusters.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.config import later_field, register, require, require_finite, require_positive_int
from genae_core.distributions.base import Delta, Distribution
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.f_divergence import FDivergence
from genae_core.models.aae import ADVERSARIAL
from genae_core.models.ae import reconstruction_loss
from genae_core.models.base import Autoencoder, Batch, Phase, Player, Stage, add_noise
from genae_core.models.config import ModelConfig
from genae_core.models.labelled import BatchWithLabelled, pair_with_labelled
from genae_core.models.likelihoods import BernoulliPixels, Likelihood
from genae_core.models.matching import Matching, check_critic
from genae_core.models.optimizers import AdamConfig
from genae_core.models.style_aae import StyleAndClass
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.priors.codes import sample_classes
from genae_core.priors.mixture import GaussianMixture
from genae_core.priors.normal import IsotropicNormal


@register("cluster_aae")
@dataclass(frozen=True, kw_only=True)
class ClusterAAEConfig(ModelConfig):
    """The config of an AAE with clusters. Its encoder gives a style s, and a softmax y over
    clusters. With `labels`, the clusters are classes, which it learns from the images whose class
    is known, and the number of these images is `TrainingConfig.num_labelled`.

    Args:
        style_dim: The dimension D of the style.
        clusters: The number K of clusters.
        code: With "beside", the code is z = [s, y], of dimension D + K. With "head", it is
            z = s + W y, of dimension D. The columns of W [D, K], the cluster heads, are learned.
        style_sd: The standard deviation of the Gaussian that the styles are moved to.
        head_distance: The distance below which two cluster heads are pushed apart.
        noise: The standard deviation of the corruption.
        divergence: The divergence of styles and clusters from their priors; it needs a critic.
        net: The networks of the encoder and the decoder.
        likelihood: The distribution of an image given its code.
        critic: The config of both critics.
        optimizer: The optimiser of the reconstruction.
        adversarial_optimizer: The optimiser of the critics, and of the encoder against them.
        labels: Whether each step also lowers the cross-entropy of y on labelled images.
        cluster_noise: The standard deviation of the noise that is added to what the critic of the
            clusters gets: to y, and to the one-hot vectors. Without it, this critic sees at once
            that y is not exactly one-hot. y is then driven to one-hot before the reconstruction
            has chosen the clusters, and a saturated softmax learns no more.
        label_optimizer: The optimiser of the encoder for the labels; None is `optimizer`. Each
            phase has an optimiser of its own, whose steps are as large as its rate: with equal
            rates the other phases outvote the labels.

    Raises:
        ValueError: A value is out of range.
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
    labels: bool = later_field(False)
    cluster_noise: float = later_field(0.0)
    label_optimizer: AdamConfig | None = later_field(None)

    def __post_init__(self) -> None:
        require_positive_int(style_dim=self.style_dim, clusters=self.clusters)
        require(self.clusters >= 2, "clusters must be >= 2", clusters=self.clusters)
        require(self.code in ("beside", "head"), 'code must be "beside" or "head"', code=self.code)
        require_finite(0, noise=self.noise, style_sd=self.style_sd)
        require_finite(0, head_distance=self.head_distance, cluster_noise=self.cluster_noise)
        require(self.style_sd > 0, "style_sd must be > 0", style_sd=self.style_sd)
        require(isinstance(self.labels, bool), "labels must be True or False", labels=self.labels)
        check_critic(self.family, self.divergence)

    @property
    def latent_dim(self) -> int:
        return self.style_dim + (self.clusters if self.code == "beside" else 0)

    @property
    def num_classes(self) -> int:
        return self.clusters if self.labels else 0

    @property
    def family(self) -> str:
        name = "cluster AAE" if self.code == "beside" else "cluster-head AAE"
        return f"{name} (labels)" if self.labels else name

    def build(self, shape: Shape) -> "ClusterAAE":
        return ClusterAAE(self, shape)


class ClusterAAE(Autoencoder):
    """An AAE with two critics, which move the style to a Gaussian and y to one-hot vectors.

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape.
    """

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
        """The style s [B, D] and the probabilities y [B, K] of the clusters, for x [B, C, H,
        W]."""
        style, logits = self.style_and_logits(x)
        return style, logits.softmax(1)

    def style_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The style s [B, D] and the logits of y [B, K], for x [B, C, H, W]."""
        style, logits = self.encoder(x).split([self.config.style_dim, self.config.clusters], 1)
        return style, logits

    def encode(self, x: Tensor) -> Delta:
        style, y = self.parts(x)
        return Delta(torch.cat([style, y], 1) if self.heads is None else style + y @ self.heads)

    def decode(self, z: Tensor) -> Distribution:
        return self.config.likelihood.distribution(self.decoder(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.config.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        """Reconstruction, then each critic, then the encoder against each critic, then the
        labels."""
        encoder, decoder = list(self.encoder.parameters()), list(self.decoder.parameters())
        heads = [] if self.heads is None else [self.heads]
        adam, adversarial = self.config.optimizer, self.config.adversarial_optimizer
        divergence = self.config.divergence
        matchings = (
            Matching(
                divergence,
                critic=lambda model: model.style_critic,
                codes=_encode_styles,
                target=_sample_styles,
                terms=("style_critic", "style_encoder"),
            ),
            Matching(
                divergence,
                critic=lambda model: model.cluster_critic,
                codes=_encode_clusters,
                target=_sample_clusters,
                terms=("cluster_critic", "cluster_encoder"),
            ),
        )
        loss = reconstruction_loss if self.heads is None else reconstruction_and_heads
        phases = (
            Phase(Player("autoencoder", [*encoder, *decoder, *heads], adam), loss),
            *(phase for m in matchings for phase in m.critic_phases(self, adversarial)),
            *(Phase(Player("encoder", encoder, adversarial), m.codes_loss) for m in matchings),
        )
        if not self.config.labels:
            return (Stage("autoencoder", phases),)
        classifier = Player("classifier", encoder, self.config.label_optimizer or adam)
        labels = Phase(classifier, label_loss)
        return (Stage("autoencoder", (*phases, labels), inputs=pair_with_labelled),)


def reconstruction_and_heads(
    model: ClusterAAE, batch: Batch, draw: Draw
) -> tuple[Tensor, dict[str, Tensor]]:
    """-log p(x|z), in nats per image, plus sum_{j<k} max(0, head_distance - |W_j - W_k|).

    The second term pushes two cluster heads apart if their distance is below `head_distance`.
    """
    reconstruction, _ = reconstruction_loss(model, batch, draw)
    assert model.heads is not None
    distances = torch.pdist(model.heads)
    crowding = (model.config.head_distance - distances).clamp_min(0).sum()
    return reconstruction + crowding, {"reconstruction": reconstruction, "crowding": crowding}


def label_loss(
    model: ClusterAAE, batch: BatchWithLabelled, draw: Draw
) -> tuple[Tensor, dict[str, Tensor]]:
    """-log y_k, in nats per image, where k is the class of a labelled image.

    Makhzani et al. 2016, second version, section 4: the phase of semi-supervised classification.
    """
    x, labels = batch.labelled
    _, logits = model.style_and_logits(model.corrupt(x, draw))
    loss = F.cross_entropy(logits, labels)
    return loss, {"labels": loss}


def _encode_styles(model: ClusterAAE, batch: Batch, draw: Draw) -> Tensor:
    return model.parts(model.corrupt(batch.x, draw))[0]


def _encode_clusters(model: ClusterAAE, batch: Batch, draw: Draw) -> Tensor:
    y = model.parts(model.corrupt(batch.x, draw))[1]
    return add_noise(y, model.config.cluster_noise, draw)


def _sample_styles(model: ClusterAAE, batch: Batch, draw: Draw) -> Tensor:
    return model.style_prior.sample(draw, (len(batch.x),))


def _sample_clusters(model: ClusterAAE, batch: Batch, draw: Draw) -> Tensor:
    y = sample_classes(model.config.clusters, (len(batch.x),), draw)
    return add_noise(y, model.config.cluster_noise, draw)
