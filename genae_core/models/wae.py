"""The Wasserstein autoencoder, WAE-MMD and WAE-GAN (Tolstikhin et al. 2018, eq. 4, algorithms 1
and 2). Shapes: B batch, C channels, H rows, W columns, D latent dimension."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from genae_core.config import register, require_finite, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.mmd import MMD
from genae_core.models.aae import AAE, ADVERSARIAL
from genae_core.models.base import AdamConfig, Batch, Phase, Player, Stage
from genae_core.models.likelihoods import GaussianPixels, Likelihood
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.priors.base import PriorConfig
from genae_core.priors.normal import NormalPriorConfig


@register("wae")
@dataclass(frozen=True, kw_only=True)
class WAEConfig:
    """weight: lambda, of the divergence between the codes and the prior. likelihood: minus its
    logarithm is the cost c(x, x'); by default the squared error, up to a constant. divergence:
    the MMD gives the WAE-MMD, one with a critic the WAE-GAN."""

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

    num_classes: ClassVar[int] = 0
    posterior: ClassVar[Literal["deterministic"]] = "deterministic"

    def __post_init__(self) -> None:
        require_positive_int(latent_dim=self.latent_dim)
        require_finite(0, noise=self.noise, weight=self.weight)

    @property
    def family(self) -> str:
        return "WAE-GAN" if self.divergence.critic_steps else "WAE-MMD"

    def build(self, shape: Shape) -> "WAE":
        return WAE(self, shape)


class WAE(AAE):
    """An AAE whose encoder answers cost and divergence in one step."""

    config: WAEConfig  # type: ignore[assignment]

    def __init__(self, config: WAEConfig, shape: Shape) -> None:
        super().__init__(config, shape)  # type: ignore[arg-type]

    def stages(self) -> tuple[Stage, ...]:
        """The critic where there is one, then encoder and decoder together."""
        both = [*self.encoder.parameters(), *self.decoder.parameters()]
        player = Player("autoencoder", both, self.config.optimizer)
        phases = (
            *self.match().critic_phases(self, self.config.adversarial_optimizer),
            Phase(player, penalised_cost),
        )
        return (Stage("autoencoder", phases),)


def penalised_cost(model: WAE, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """E[c(x, d(e(x~)))] + lambda D(q(z), p(z)) (Tolstikhin et al. 2018, eq. 4)."""
    z = model.encode(model.corrupt(batch.x, draw)).sample(draw)
    cost = -model.decode(z).log_prob(batch.x).flatten(1).sum(1).mean()
    divergence = model.match().answer(model, batch, z, draw)
    loss = cost + model.config.weight * divergence
    return loss, {"reconstruction": cost, "divergence": divergence}
