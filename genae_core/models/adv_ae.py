"""AdvAE: an autoencoder, and a generator that is trained adversarially on its latent codes.

Sridhar & Srivastava, section 4.3. Shapes: B batch, D latent dimension.
"""

from dataclasses import dataclass, field

from torch import Tensor, nn

from genae_core.config import register, require
from genae_core.distributions.base import Implicit
from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.models.base import Batch, Phase, Player, Stage
from genae_core.models.matching import Matching
from genae_core.models.optimizers import AdamConfig
from genae_core.models.two_stage import TwoStage, TwoStageConfig, cache_codes
from genae_core.nets.base import Shape
from genae_core.nets.mlp import CriticConfig, GeneratorConfig


@register("adv_ae")
@dataclass(frozen=True, kw_only=True)
class AdvAEConfig(TwoStageConfig):
    """The config of an AdvAE.

    It has the arguments of `TwoStageConfig` and these:

    Args:
        divergence: The divergence between generated codes and codes of images. It needs a critic.
            The default is the divergence of the WGAN-GP, as in the paper.
        generator: The generator.
        critic: The critic.
        optimizer: The optimiser of the generator, and of the critic.

    Raises:
        ValueError: A value is out of range.
    """

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
            "AdvAE needs a divergence with a critic; GMMN+AE takes one without",
            divergence=type(self.divergence).__name__,
        )

    @property
    def family(self) -> str:
        return "AdvAE"

    def build(self, shape: Shape) -> "AdvAE":
        return AdvAE(self, shape)


class AdvAE(TwoStage):
    """z = G(eps), eps ~ N(0, I) (Sridhar & Srivastava, eq. 5 to 8).

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape.
    """

    def __init__(self, config: AdvAEConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.config = config
        self.generator: nn.Module = config.generator.build(config.latent_dim)
        self.critic = config.critic.build(config.latent_dim)

    def code_distribution(self) -> Implicit:
        return Implicit(self.generator, self.shift)

    def code_stage(self) -> Stage:
        adam = self.config.optimizer
        matching = Matching(
            self.config.divergence,
            critic=lambda model: model.critic,
            codes=generate_codes,
            target=batch_codes,
            terms=("code_critic", "generator"),
        )
        generator = Player("generator", list(self.generator.parameters()), adam)
        phases = (*matching.critic_phases(self, adam), Phase(generator, matching.codes_loss))
        return Stage("generator", phases, cache_codes, self.config.epochs)


def generate_codes(model: TwoStage, batch: Batch, draw: Draw) -> Tensor:
    """Codes from the generator, [B, D]."""
    return model.code_distribution().sample(draw, (len(batch.x),))


def batch_codes(model: TwoStage, batch: Batch, draw: Draw) -> Tensor:
    """The codes of the batch's images, [B, D]."""
    return batch.x
