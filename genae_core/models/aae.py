"""The adversarial autoencoder (AAE), and the denoising one with corrupted inputs (DAAE).

Makhzani et al. 2016, sections 2 and 3.1; Creswell et al. 2017, sections 2.1, 2.2 and 4.1.
Shapes: B batch, C channels, H rows, W columns, D latent dimension, K classes.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.config import register, require, require_finite, require_int, require_positive_int
from genae_core.distributions.base import Delta, Distribution, Implicit, Normal
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.f_divergence import FDivergence
from genae_core.models.ae import reconstruction_loss
from genae_core.models.base import Autoencoder, Batch, Phase, Player, Stage, add_noise
from genae_core.models.config import ModelConfig
from genae_core.models.likelihoods import BernoulliPixels, Likelihood
from genae_core.models.matching import Matching, build_critic, sample_codes, sample_prior
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.priors.base import LabelledPrior, Prior, PriorConfig, check_fixed
from genae_core.priors.normal import NormalPriorConfig

# The settings of Adam in Creswell et al. 2017, section 4.3.
ADVERSARIAL = AdamConfig(learning_rate=2e-4, beta1=0.5)
POSTERIORS = ("deterministic", "gaussian", "universal")


@register("aae")
@dataclass(frozen=True, kw_only=True)
class AAEConfig(ModelConfig):
    """The config of an AAE, or of a DAAE if noise > 0.

    Args:
        latent_dim: The dimension D of the latent code.
        noise: The standard deviation of the corruption.
        posterior: The form of q(z|x): "deterministic" is a point, "gaussian" a diagonal Gaussian,
            and "universal" e(x, eta) with noise eta ~ N(0, 1) as an additional channel of x.
        divergence: The divergence between the codes and the prior.
        num_classes: The number K of classes. With K > 0, the critic also receives the label, one
            of K + 1 because the class may be unknown, and the k-th part of the prior belongs to
            the k-th class.
        net: The networks of the encoder and the decoder.
        prior: The prior p(z).
        likelihood: The distribution of an image given its code.
        critic: The critic, if the divergence has one.
        optimizer: The optimiser of the reconstruction.
        adversarial_optimizer: The optimiser of the critic, and of the encoder against the critic.

    Raises:
        ValueError: A value is out of range.
    """

    latent_dim: int
    noise: float = 0.0
    posterior: Literal["deterministic", "gaussian", "universal"] = "deterministic"
    divergence: Divergence = field(default_factory=FDivergence)
    num_classes: int = 0
    net: NetConfig = field(default_factory=MLPConfig)
    prior: PriorConfig = field(default_factory=NormalPriorConfig)
    likelihood: Likelihood = field(default_factory=BernoulliPixels)
    critic: CriticConfig = field(default_factory=CriticConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)
    adversarial_optimizer: AdamConfig = ADVERSARIAL

    def __post_init__(self) -> None:
        require_positive_int(latent_dim=self.latent_dim)
        require_finite(0, noise=self.noise)
        require(
            self.posterior in POSTERIORS,
            f"posterior must be one of {', '.join(POSTERIORS)}",
            posterior=self.posterior,
        )
        require_int(num_classes=self.num_classes)
        require(
            self.num_classes == 0 or self.num_classes >= 2,
            "num_classes must be 0, for no labels, or at least 2",
            num_classes=self.num_classes,
        )
        require(
            self.num_classes == 0 or self.divergence.critic_steps > 0,
            "the critic sees the labels, so num_classes needs a divergence with a critic",
            divergence=type(self.divergence).__name__,
        )

    @property
    def family(self) -> str:
        name = "DAAE" if self.noise > 0 else "AAE"
        return f"{name} (labels)" if self.num_classes else name

    def build(self, shape: Shape) -> "AAE":
        return AAE(self, shape)


class AAE(Autoencoder):
    """An autoencoder whose codes are moved to the prior, usually against a critic.

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape, or the
            prior is learned or has no part for each class.
    """

    critic: nn.Module | None

    def __init__(self, config: AAEConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        universal, gaussian = config.posterior == "universal", config.posterior == "gaussian"
        inputs = (shape[0] + 1, *shape[1:]) if universal else shape
        maps = (config.likelihood.maps(shape[0]), *shape[1:])
        self.encoder = config.net.build_encoder(inputs, config.latent_dim * (1 + gaussian))
        self.decoder = config.net.build_decoder(config.latent_dim, maps)
        self.prior = config.prior.build(config.latent_dim)
        check_fixed(self.prior, config.family)
        check_parts(self.prior, config.num_classes)
        labels = config.num_classes + 1 if config.num_classes else 0
        self.critic = build_critic(config.critic, config.divergence, config.latent_dim + labels)

    def latent_prior(self) -> Prior:
        return self.prior

    def encode(self, x: Tensor) -> Distribution:
        if self.config.posterior == "gaussian":
            mean, log_var = self.encoder(x).chunk(2, dim=1)
            return Normal(mean, log_var)
        if self.config.posterior == "universal":
            return Implicit(lambda eta: self._encode_with(x, eta), x[:, :1])
        return Delta(self.encoder(x))

    def _encode_with(self, x: Tensor, eta: Tensor) -> Tensor:
        """The codes e(x, eta), [..., B, D], for the noise eta [..., B, 1, H, W]."""
        images = x.expand(*eta.shape[:-4], *x.shape)
        z: Tensor = self.encoder(torch.cat([images, eta], -3).flatten(0, -4))
        return z.reshape(*eta.shape[:-3], self.latent_dim)

    def decode(self, z: Tensor) -> Distribution:
        return self.config.likelihood.distribution(self.decoder(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.config.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        """Reconstruction, then the critic, then the encoder (Makhzani et al. 2016, section 2)."""
        encoder, decoder = list(self.encoder.parameters()), list(self.decoder.parameters())
        adam, adversarial = self.config.optimizer, self.config.adversarial_optimizer
        matching = self.matching()
        phases = (
            Phase(Player("autoencoder", encoder + decoder, adam), reconstruction_loss),
            *matching.critic_phases(self, adversarial),
            Phase(Player("encoder", encoder, adversarial), matching.codes_loss),
        )
        return (Stage("autoencoder", phases),)

    def matching(self) -> Matching:
        """The matching that moves q(z) to p(z).

        Makhzani et al. 2016, section 2; Creswell et al. 2017, section 2.1.
        """
        classes = self.config.num_classes
        return Matching(
            self.config.divergence,
            critic=lambda model: model.critic,
            codes=sample_codes,
            target=sample_labelled_prior if classes else sample_prior,
            switch=partial(label_switch, classes) if classes else None,
        )


def check_parts(prior: Prior, num_classes: int) -> None:
    """Raise ValueError unless the prior has a part for each class."""
    parts = getattr(prior, "num_classes", 0)
    require(
        num_classes in (0, parts),
        "labels need a prior with a part for each class (a mixture, a swiss roll)",
        num_classes=num_classes,
        prior=type(prior).__name__,
        parts=parts,
    )


def sample_labelled_prior(model: AAE, batch: Batch, draw: Draw) -> Tensor:
    """z, [B, D], from the parts of the prior that belong to the classes of the images.

    For an image of unknown class, z is from the whole prior (Makhzani et al. 2016, section 3.1).
    """
    return cast(LabelledPrior, model.prior).sample_given(batch.labels, draw)


def label_switch(num_classes: int, batch: Batch) -> Tensor:
    """The labels as one-hot vectors [B, K + 1]. The last component stands for an unknown class."""
    labels = torch.where(batch.labels < 0, num_classes, batch.labels)
    return F.one_hot(labels, num_classes + 1).float()
