"""GMMN+AE: a generator of latent codes, trained to match the moments of an autoencoder's codes.

Li et al. 2015, sections 3 and 4. Shapes: B batch, D latent dimension.
"""

from dataclasses import dataclass, field

from torch import nn

from genae_core.config import register, require
from genae_core.distributions.base import Implicit
from genae_core.divergences.base import Divergence
from genae_core.divergences.mmd import MMD
from genae_core.models.adv_ae import batch_codes, generate_codes
from genae_core.models.ae import AEConfig
from genae_core.models.base import Phase, Player, Stage
from genae_core.models.config import ModelConfig
from genae_core.models.matching import Matching
from genae_core.models.optimizers import AdamConfig
from genae_core.models.two_stage import TwoStage, TwoStageConfig, cache_codes
from genae_core.nets.base import Shape
from genae_core.nets.mlp import GeneratorConfig, MLPConfig


def autoencoder_with_dropout(latent_dim: int = 10) -> AEConfig:
    """An autoencoder with dropout in its encoder (Li et al. 2015, section 4)."""
    return AEConfig(latent_dim=latent_dim, net=MLPConfig(dropout=0.2))


@register("gmmn_ae")
@dataclass(frozen=True, kw_only=True)
class GMMNAEConfig(TwoStageConfig):
    """The config of a GMMN+AE.

    It has the arguments of `TwoStageConfig` and these:

    Args:
        autoencoder: The autoencoder of the first stage; the default has dropout in its encoder.
        divergence: The divergence between generated codes and codes of images, without a critic.
            The default is the root of MMD^2.
        generator: The generator.
        optimizer: The optimiser of the generator.

    Raises:
        ValueError: A value is out of range.
    """

    autoencoder: ModelConfig = field(default_factory=autoencoder_with_dropout)
    divergence: Divergence = field(
        default_factory=lambda: MMD(kernel="rbf", estimator="biased", root=True)
    )
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.divergence.critic_steps == 0,
            "GMMN+AE needs a divergence without a critic (an MMD); AdvAE takes the others",
            divergence=type(self.divergence).__name__,
        )

    @property
    def family(self) -> str:
        return "GMMN+AE"

    def build(self, shape: Shape) -> "GMMNAE":
        return GMMNAE(self, shape)


class GMMNAE(TwoStage):
    """z = G(h), h ~ U[-1, 1)^D (Li et al. 2015, section 5).

    The loss is the MMD between a batch of codes and a generated batch of the same size (eq. 3 and
    8).

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape.
    """

    def __init__(self, config: GMMNAEConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.config = config
        self.generator: nn.Module = config.generator.build(config.latent_dim)

    def code_distribution(self) -> Implicit:
        return Implicit(self.generator, self.shift, uniform=True)

    def code_stage(self) -> Stage:
        matching = Matching(
            self.config.divergence,
            critic=lambda _: None,
            codes=generate_codes,
            target=batch_codes,
            terms=("", "mmd"),
        )
        player = Player("generator", list(self.generator.parameters()), self.config.optimizer)
        phases = (Phase(player, matching.codes_loss),)
        return Stage("generator", phases, cache_codes, self.config.epochs)
