"""AdvAE: a generator trained against a critic on the codes of a finished autoencoder.

Sridhar & Srivastava, section 4.3. Shapes: B batch, D latent dimension.
"""

from dataclasses import dataclass, field

from torch import Tensor, nn

from genae_core.config import register, require
from genae_core.distributions.base import Implicit
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.models.base import AdamConfig, Batch, Phase, Player, Stage
from genae_core.models.matching import Match
from genae_core.models.two_stage import TwoStage, TwoStageConfig, cached_codes
from genae_core.nets.base import Shape
from genae_core.nets.mlp import CriticConfig, GeneratorConfig


@register("adv_ae")
@dataclass(frozen=True, kw_only=True)
class AdvAEConfig(TwoStageConfig):
    """divergence: WGAN-GP, which the paper used, or any other with a critic."""

    divergence: Divergence = field(default_factory=Wasserstein)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    critic: CriticConfig = field(default_factory=lambda: CriticConfig(dropout=0.0))
    optimizer: AdamConfig = field(
        default_factory=lambda: AdamConfig(learning_rate=2e-4, beta1=0.5, beta2=0.9)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.divergence.critic_steps > 0,
            "AdvAE needs a divergence with a critic; GMMN+AE is the one that matches moments",
            divergence=type(self.divergence).__name__,
        )

    @property
    def family(self) -> str:
        return "AdvAE"

    def build(self, shape: Shape) -> "AdvAE":
        return AdvAE(self, shape)


class AdvAE(TwoStage):
    """z = G(eps), eps ~ N(0, I); its losses are eq. 5 to 8 of Sridhar & Srivastava."""

    def __init__(self, config: AdvAEConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.config = config
        self.generator: nn.Module = config.generator.build(config.latent_dim)
        self.critic = config.critic.build(config.latent_dim)

    def code_distribution(self) -> Implicit:
        return Implicit(self.generator, self.shift)

    def code_stage(self) -> Stage:
        adam = self.config.optimizer
        match = Match(
            self.config.divergence,
            lambda model: model.critic,
            generated,
            cached,
            terms=("code_critic", "generator"),
        )
        generator = Player("generator", list(self.generator.parameters()), adam)
        phases = (*match.critic_phases(self, adam), Phase(generator, match.codes_loss))
        return Stage("generator", phases, cached_codes, self.config.epochs)


def generated(model: TwoStage, batch: Batch, draw: Draw) -> Tensor:
    """As many codes of the generator, [B, D]."""
    return model.code_distribution().sample(draw, (len(batch.x),))


def cached(model: TwoStage, batch: Batch, draw: Draw) -> Tensor:
    """The batch's own codes, [B, D]."""
    return batch.x
