"""Fully connected networks: bodies, a critic of latent codes, and a generator of latent codes.

Shapes: B batch, D latent dimension.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from genae_core.config import register, require, require_positive_int
from genae_core.distributions.rng import Draw
from genae_core.nets.base import Net, Shape

SLOPE = 0.2  # the slope of a leaky ReLU below 0 (Radford et al. 2016, section 3)
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, SLOPE),
}


@register("net.mlp")
@dataclass(frozen=True, kw_only=True)
class MLPConfig:
    """A linear layer, batch normalisation and an activation for each width, then a linear layer.

    Args:
        widths: The widths of the hidden layers.
        activation: "elu", "relu", or "leaky_relu" with a slope of 0.2 below 0.
        dropout: The rate of dropout after each hidden layer of the encoder. The layers draw from
            torch's global random state, which fit() seeds.
        batch_norm: Whether the hidden layers have batch normalisation.

    Raises:
        ValueError: A value is out of range.
    """

    widths: tuple[int, ...] = (512, 512)
    activation: Literal["elu", "relu", "leaky_relu"] = "elu"
    dropout: float = 0.0
    batch_norm: bool = True

    def __post_init__(self) -> None:
        require(len(self.widths) > 0, "widths must name at least one layer", widths=self.widths)
        for width in self.widths:
            require_positive_int(width=width)
        require(
            self.activation in ACTIVATIONS,
            f"activation must be one of {', '.join(ACTIVATIONS)}",
            activation=self.activation,
        )
        require(0 <= self.dropout < 1, "dropout must be in [0, 1)", dropout=self.dropout)
        require(
            isinstance(self.batch_norm, bool),
            "batch_norm must be True or False",
            batch_norm=self.batch_norm,
        )

    def build_encoder(self, shape: Shape, num_outputs: int) -> nn.Module:
        return Net(nn.Flatten(), self._body(math.prod(shape), num_outputs, self.dropout))

    def build_decoder(self, latent_dim: int, shape: Shape) -> nn.Module:
        return Net(self._body(latent_dim, math.prod(shape)), nn.Unflatten(1, shape))

    def _body(self, num_inputs: int, num_outputs: int, dropout: float = 0.0) -> nn.Sequential:
        layers: list[nn.Module] = []
        for fan_in, width in pairwise((num_inputs, *self.widths)):
            layers += [nn.Linear(fan_in, width)]
            layers += [nn.BatchNorm1d(width)] if self.batch_norm else []
            layers += [ACTIVATIONS[self.activation]()]
            layers += [nn.Dropout(dropout)] if dropout > 0 else []
        return nn.Sequential(*layers, nn.Linear(self.widths[-1], num_outputs))


@register("critic.mlp")
@dataclass(frozen=True, kw_only=True)
class CriticConfig:
    """The adversary: "a fully-connected network with dropout and leaky ReLU nonlinearities"
    (Creswell et al. 2017, section 4.1, which states neither widths nor rates).

    Args:
        widths: The widths of the hidden layers.
        dropout: The rate of dropout after each hidden layer.
        slope: The slope of the leaky ReLU below 0.

    Raises:
        ValueError: A value is out of range.
    """

    widths: tuple[int, ...] = (256, 256)
    dropout: float = 0.2
    slope: float = 0.2

    def __post_init__(self) -> None:
        require(len(self.widths) > 0, "widths must name at least one layer", widths=self.widths)
        for width in self.widths:
            require_positive_int(width=width)
        require(0 <= self.dropout < 1, "dropout must be in [0, 1)", dropout=self.dropout)
        require(0 <= self.slope < 1, "slope must be in [0, 1)", slope=self.slope)

    def build(self, latent_dim: int) -> "Critic":
        """Build the critic of latent codes [B, D].

        Args:
            latent_dim: D, the number of inputs.

        Returns:
            The critic; its weights are drawn from torch's global random state.
        """
        return Critic(self, latent_dim)


class Critic(nn.Module):
    """The map z [B, D] -> logits [B]. In training mode, its dropout draws masks from `draw`."""

    def __init__(self, config: CriticConfig, latent_dim: int) -> None:
        super().__init__()
        self.config = config
        sizes = pairwise((latent_dim, *config.widths))
        self.hidden = nn.ModuleList(nn.Linear(fan_in, width) for fan_in, width in sizes)
        self.top = nn.Linear(config.widths[-1], 1)

    def forward(self, z: Tensor, draw: Draw) -> Tensor:
        keep = 1 - self.config.dropout
        for layer in self.hidden:
            z = F.leaky_relu(layer(z), self.config.slope)
            if self.training and keep < 1:
                z = z * draw.mask(tuple(z.shape), keep) / keep
        logits: Tensor = self.top(z).squeeze(1)
        return logits


@register("generator.mlp")
@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """A generator of codes: "2 fully connected layers and an output layer" (Sridhar &
    Srivastava, section 4.3), with ReLU and without normalisation.

    Args:
        widths: The widths of the hidden layers.

    Raises:
        ValueError: A width is not a whole number >= 1.
    """

    widths: tuple[int, ...] = (256, 256)

    def __post_init__(self) -> None:
        require(len(self.widths) > 0, "widths must name at least one layer", widths=self.widths)
        for width in self.widths:
            require_positive_int(width=width)

    def build(self, latent_dim: int) -> nn.Module:
        """Build the generator.

        Args:
            latent_dim: D.

        Returns:
            The map of noise [B, D] to codes [B, D]; its weights are drawn from torch's global
            random state.
        """
        layers: list[nn.Module] = []
        for fan_in, width in pairwise((latent_dim, *self.widths)):
            layers += [nn.Linear(fan_in, width), nn.ReLU()]
        return Net(*layers, nn.Linear(self.widths[-1], latent_dim))
