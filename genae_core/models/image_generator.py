"""The base of the families in image space: a generator that is judged by the images it makes.

These families have no encoder (BiGAN has one), so nothing but draws from the prior can be sampled.
Shapes: B batch, C channels, H rows, W columns, D latent dimension.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from genae_core.config import require, require_positive_int
from genae_core.distributions.base import Delta
from genae_core.distributions.rng import Draw
from genae_core.models.base import Batch, GenerativeModel, Loss, Phase, Player
from genae_core.models.config import ModelConfig
from genae_core.models.matching import sample_prior
from genae_core.models.optimizers import AdamConfig, OptimizerConfig
from genae_core.nets.base import NetConfig, Shape
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.base import Prior, PriorConfig, check_fixed
from genae_core.priors.normal import NormalPriorConfig

# The settings of Adam in Radford et al. 2016, section 3.
ADAM = AdamConfig(learning_rate=2e-4, beta1=0.5)


@dataclass(frozen=True, kw_only=True)
class ImageGeneratorConfig(ModelConfig):
    """The config of a family in image space.

    Args:
        latent_dim: The dimension D of the latent code.
        net: The generator is the decoder of these networks.
        critic: The critic, or what plays its part, is the encoder of these networks.
        prior: The prior p(z), which training does not change.
        optimizer: The optimiser of the generator.
        critic_optimizer: The optimiser of the critic; None takes that of the generator.
        average: The decay of the moving average of the generator's weights, in [0, 1). With a
            decay above 0, samples are drawn with the averaged weights (Karras et al. 2018,
            appendix A: 0.999), and the training goes on with the weights themselves.

    Raises:
        ValueError: A value is out of range.
    """

    latent_dim: int
    net: NetConfig = field(default_factory=MLPConfig)
    critic: NetConfig = field(
        default_factory=lambda: MLPConfig(activation="leaky_relu", batch_norm=False)
    )
    prior: PriorConfig = field(default_factory=NormalPriorConfig)
    optimizer: OptimizerConfig = ADAM
    critic_optimizer: OptimizerConfig | None = None
    average: float = 0.0

    def __post_init__(self) -> None:
        require_positive_int(latent_dim=self.latent_dim)
        require(0 <= self.average < 1, "average must be in [0, 1)", average=self.average)


class ImageGenerator(GenerativeModel):
    """A model whose generator turns z ~ p(z) into an image, x = sigmoid(g(z)).

    Args:
        config: The config of the model.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The networks cannot make images of this shape, or the prior is learned.
    """

    def __init__(self, config: ImageGeneratorConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        self.generator = config.net.build_decoder(config.latent_dim, shape)
        self.prior = config.prior.build(config.latent_dim)
        check_fixed(self.prior, config.family)
        self.average = AverageOfWeights(self.generator, config.average) if config.average else None

    def latent_prior(self) -> Prior:
        return self.prior

    def decode(self, z: Tensor) -> Delta:
        if self.average is not None and not self.training:
            return Delta(torch.sigmoid(self.average.call(self.generator, z)))
        return Delta(self.generate(z))

    def generate(self, z: Tensor) -> Tensor:
        """x = sigmoid(g(z)) by the weights themselves, also if they are averaged.

        Args:
            z: Latent codes [B, D].

        Returns:
            Images [B, C, H, W].
        """
        return torch.sigmoid(self.generator(z))

    def critic_optimizer(self) -> OptimizerConfig:
        """The optimiser of the critic."""
        return self.config.critic_optimizer or self.config.optimizer

    def generator_phase(self, loss: Loss) -> Phase:
        """The phase in which the generator minimises a loss, and its weights are averaged."""
        player = Player("generator", list(self.generator.parameters()), self.config.optimizer)
        return Phase(player, loss, project=add_to_average if self.config.average else None)


class AverageOfWeights(nn.Module):
    """The exponential moving average of a network's weights; it begins at its first weights.

    Args:
        net: The network.
        decay: The share of the former average that each update keeps, in (0, 1).
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        for name, weight in net.named_parameters():
            self.register_buffer(name.replace(".", "_"), weight.detach().clone())

    def update(self, net: nn.Module) -> None:
        """Add the present weights of the network: average <- decay average + (1 - decay) w."""
        for average, weight in zip(self.buffers(), net.parameters(), strict=True):
            average.lerp_(weight.detach(), 1 - self.decay)

    def call(self, net: nn.Module, z: Tensor) -> Tensor:
        """The output of the network with the averaged weights."""
        names = (name for name, _ in net.named_parameters())
        weights = dict(zip(names, self.buffers(), strict=True))
        output: Tensor = functional_call(net, weights, (z,))
        return output


def add_to_average(model: ImageGenerator) -> None:
    """Update the average of the generator's weights."""
    assert model.average is not None
    model.average.update(model.generator)


def generate_images(model: ImageGenerator, batch: Batch, draw: Draw) -> Tensor:
    """x = sigmoid(g(z)) for as many z ~ p(z) as the batch has images, [B, C, H, W]."""
    return model.generate(sample_prior(model, batch, draw))


def real_images(model: Any, batch: Batch, draw: Draw) -> Tensor:
    """The images of the batch, [B, C, H, W]."""
    return batch.x


def critic_like(net: NetConfig, batch_norm: bool = False, dropout: float = 0.0) -> NetConfig:
    """Networks of the same kind and width for a critic, with leaky ReLU.

    Args:
        net: The networks of the generator.
        batch_norm: Whether the critic of a DCGAN has batch normalisation (Radford et al. 2016,
            section 3). Then the score of an image depends on the other images of its batch, which
            a gradient penalty does not allow.
        dropout: The rate of dropout of the critic of an MLP.

    Raises:
        ValueError: The networks are of a kind of one's own.
    """
    if isinstance(net, MLPConfig):
        return MLPConfig(
            widths=net.widths, activation="leaky_relu", batch_norm=False, dropout=dropout
        )
    require(
        isinstance(net, DCGANConfig),
        "only an MLP and a DCGAN have a critic of the same kind; name the critic itself",
        net=type(net).__name__,
    )
    assert isinstance(net, DCGANConfig)
    return DCGANConfig(width=net.width, activation="leaky_relu", batch_norm=batch_norm)
