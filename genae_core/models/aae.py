"""The adversarial autoencoder, with `noise` its denoising form (DAAE).

Makhzani et al. 2016, sections 2 and 3.1; Creswell et al. 2017, sections 2.1, 2.2 and 4.1.
Shapes: B batch, C channels, H rows, W columns, D latent dimension, K classes.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.config import register, require, require_finite, require_int, require_positive_int
from genae_core.distributions.base import Delta, Distribution, Implicit, Normal
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.f_divergence import FDivergence
from genae_core.models.ae import reconstruction_loss
from genae_core.models.base import AdamConfig, Autoencoder, Batch, Phase, Player, Stage, add_noise
from genae_core.models.likelihoods import BernoulliPixels, Likelihood
from genae_core.models.matching import Match
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.priors.base import Prior, PriorConfig, check_fixed
from genae_core.priors.normal import NormalPriorConfig

# Adam as Creswell et al. 2017, section 4.3, give it.
ADVERSARIAL = AdamConfig(learning_rate=2e-4, beta1=0.5)
POSTERIORS = ("deterministic", "gaussian", "universal")


@register("aae")
@dataclass(frozen=True, kw_only=True)
class AAEConfig:
    """An AAE, or a DAAE where noise > 0 (the standard deviation of the corruption).

    posterior: q(z|x), a point, a diagonal Gaussian, or e(x, eta) with eta ~ N(0, 1) a further
    channel of the image ("universal"). divergence: between the codes and the prior.
    num_classes: with K > 0 the critic also sees the label, one of K + 1 with one for "unknown",
    and the k-th part of the prior is given to the k-th class. `optimizer` steps the
    reconstruction, `adversarial_optimizer` the critic and the encoder's answer to it.
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
        check_num_classes(self.num_classes)
        require(
            self.num_classes == 0 or self.divergence.critic_steps > 0,
            "labels go to the critic, so num_classes needs a divergence that has one",
            divergence=type(self.divergence).__name__,
        )

    @property
    def family(self) -> str:
        name = "DAAE" if self.noise > 0 else "AAE"
        return f"{name} (labels)" if self.num_classes else name

    def build(self, shape: Shape) -> "AAE":
        return AAE(self, shape)


class AAE(Autoencoder):
    """q(z|x) and p(x|z) as the config says, and a critic over z where the divergence has one."""

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
        self.critic = (
            config.critic.build(config.latent_dim + labels)
            if config.divergence.critic_steps
            else None
        )

    def latent_prior(self) -> Prior:
        return self.prior

    def encode(self, x: Tensor) -> Distribution:
        if self.config.posterior == "gaussian":
            mean, log_var = self.encoder(x).chunk(2, dim=1)
            return Normal(mean, log_var)
        if self.config.posterior == "universal":
            return Implicit(lambda eta: self._at(x, eta), x[:, :1])
        return Delta(self.encoder(x))

    def _at(self, x: Tensor, eta: Tensor) -> Tensor:
        """e(x, eta), [..., B, D], for eta [..., B, 1, H, W]."""
        images = x.expand(*eta.shape[:-4], *x.shape)
        z: Tensor = self.encoder(torch.cat([images, eta], -3).flatten(0, -4))
        return z.reshape(*eta.shape[:-3], self.latent_dim)

    def decode(self, z: Tensor) -> Distribution:
        return self.config.likelihood.distribution(self.decoder(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.config.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        """Makhzani et al. 2016, section 2: reconstruction, then critic, then encoder."""
        encoder, decoder = list(self.encoder.parameters()), list(self.decoder.parameters())
        adam, adversarial = self.config.optimizer, self.config.adversarial_optimizer
        match = self.match()
        phases = (
            Phase(Player("autoencoder", encoder + decoder, adam), reconstruction_loss),
            *match.critic_phases(self, adversarial),
            Phase(Player("encoder", encoder, adversarial), match.codes_loss),
        )
        return (Stage("autoencoder", phases),)

    def match(self) -> Match:
        """q(z) brought to p(z) (Makhzani et al. 2016, section 2; Creswell et al. 2017, section
        2.1)."""
        classes = self.config.num_classes
        return Match(
            self.config.divergence,
            lambda model: model.critic,
            codes_of,
            target_of,
            switch=partial(switch_of, classes) if classes else None,
        )


def check_num_classes(num_classes: int) -> None:
    """Raise ValueError unless it is 0 (no labels) or at least 2."""
    require_int(num_classes=num_classes)
    require(
        num_classes == 0 or num_classes >= 2,
        "num_classes must be 0, for no labels, or at least 2",
        num_classes=num_classes,
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


def codes_of(model: AAE, batch: Batch, draw: Draw) -> Tensor:
    """z ~ q(z|x~), [B, D]."""
    return model.encode(model.corrupt(batch.x, draw)).sample(draw)


def target_of(model: AAE, batch: Batch, draw: Draw) -> Tensor:
    """z ~ p(z), [B, D]; with labels from the part of each image's class, from the whole prior
    where the class is not known (Makhzani et al. 2016, section 3.1)."""
    if model.config.num_classes == 0:
        return model.prior.sample(draw, (len(batch.x),))
    given: Tensor = model.prior.sample_given(batch.labels, draw)  # type: ignore[attr-defined]
    return given


def switch_of(num_classes: int, batch: Batch) -> Tensor:
    """The label, one-hot [B, K + 1], the last for a class that is not known."""
    known = torch.where(batch.labels < 0, num_classes, batch.labels)
    return F.one_hot(known, num_classes + 1).float()
