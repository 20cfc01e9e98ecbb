"""FlowAE: a normalizing flow that is fitted to the codes of an autoencoder.

Sridhar & Srivastava, section 4.2. Shapes: B batch, D latent dimension.
"""

from dataclasses import dataclass, field

from torch import Tensor

from genae_core.config import register
from genae_core.distributions.rng import Draw
from genae_core.models.base import Batch, Phase, Player, Stage
from genae_core.models.optimizers import AdamConfig
from genae_core.models.two_stage import TwoStage, TwoStageConfig, cache_codes
from genae_core.nets.base import Shape
from genae_core.priors.flow import FlowConfig, FlowDistribution


@register("flow_ae")
@dataclass(frozen=True, kw_only=True)
class FlowAEConfig(TwoStageConfig):
    """The config of a FlowAE.

    It has the arguments of `TwoStageConfig` and these:

    Args:
        flow: The kind and the size of the flow.
        optimizer: The optimiser of the flow.

    Raises:
        ValueError: A value is out of range.
    """

    flow: FlowConfig = field(default_factory=FlowConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)

    @property
    def family(self) -> str:
        return "FlowAE" if self.flow.kind == "realnvp" else f"FlowAE ({self.flow.kind})"

    def build(self, shape: Shape) -> "FlowAE":
        return FlowAE(self, shape)


class FlowAE(TwoStage):
    """z = F(eps), eps ~ N(0, I), where F is a flow.

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot take images of this shape, or the
            flow needs more dimensions.
    """

    def __init__(self, config: FlowAEConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.config = config
        self.flow = config.flow.build(config.latent_dim)

    def code_distribution(self) -> FlowDistribution:
        return self.flow

    def code_stage(self) -> Stage:
        player = Player("flow", list(self.flow.parameters()), self.config.optimizer)
        return Stage("flow", (Phase(player, flow_loss),), cache_codes, self.config.epochs)


def flow_loss(model: FlowAE, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    """-E[log N(F^-1(z); 0, I) + log |det dF^-1/dz|], in nats per code.

    Sridhar & Srivastava, eq. 4, with the sign of the log-determinant corrected.
    """
    loss = -model.flow.log_prob(batch.x).mean()
    return loss, {"flow": loss}
