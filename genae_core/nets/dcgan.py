"""The DCGAN bodies of Creswell et al. 2017, section 4.1, for square images.

The encoder has strided convolutions, and the decoder has fractionally-strided ones. The paper's
images have 64 px; other sizes are halved in the same way, until 4 to 7 px are left, or an odd
number. Batch normalisation and ReLU follow each convolution except the last. The decoder's sigmoid
is part of the likelihood. Weights start from N(0, 0.02^2), and the scales of batch normalisation
from N(1, 0.02^2), as in Radford et al. 2016.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor, nn

from genae_core.config import later_field, register, require, require_int, require_positive_int
from genae_core.nets.base import Net, Shape
from genae_core.nets.mlp import ACTIVATIONS

GATED = "gated"
NONLINEARITIES: dict[str, Callable[[], nn.Module]] = {
    "relu": ACTIVATIONS["relu"],
    "leaky_relu": ACTIVATIONS["leaky_relu"],
    "tanh": nn.Tanh,
    GATED: partial(nn.GLU, 1),
}


@register("net.dcgan")
@dataclass(frozen=True, kw_only=True)
class DCGANConfig:
    """The DCGAN encoder and decoder.

    At 64 px the default ends in 4 x 4 x 512 = 8192 features, the paper's M (appendix A).

    Args:
        width: The number of channels of the first layer.
        activation: "relu"; "leaky_relu" with a slope of 0.2 below 0, which Radford et al. 2016
            use in the critic; "tanh"; or "gated", where a half of the channels multiplies the
            other by its sigmoid.
        batch_norm: Whether batch normalisation follows the convolutions.
        growth: The factor of the number of channels each time that the image's side is halved.
        blocks: The number of residual blocks of two convolutions after each of these layers.

    Raises:
        ValueError: A value is out of range.
    """

    width: int = 64
    activation: Literal["relu", "leaky_relu", "tanh", "gated"] = later_field("relu")
    batch_norm: bool = later_field(True)
    growth: int = later_field(2)
    blocks: int = later_field(0)

    def __post_init__(self) -> None:
        require_positive_int(width=self.width)
        require(
            self.activation in NONLINEARITIES,
            f"activation must be one of {', '.join(NONLINEARITIES)}",
            activation=self.activation,
        )
        require(
            isinstance(self.batch_norm, bool),
            "batch_norm must be True or False",
            batch_norm=self.batch_norm,
        )
        require_positive_int(growth=self.growth)
        require_int(blocks=self.blocks)
        require(self.blocks >= 0, "blocks must be >= 0", blocks=self.blocks)

    def build_encoder(self, shape: Shape, num_outputs: int) -> Net:
        layers: list[nn.Module] = []
        fan_in = shape[0]
        for width in self._widths(shape):
            layers += [nn.Conv2d(fan_in, self._outputs(width), 4, 2, 1, bias=not self.batch_norm)]
            layers += self._after_convolution(width)
            fan_in = width
        layers += [nn.Conv2d(fan_in, num_outputs, last_side(shape[1])), nn.Flatten()]
        return Net(*layers).apply(_initialize)

    def build_decoder(self, latent_dim: int, shape: Shape) -> Net:
        widths = self._widths(shape)[::-1]
        layers: list[nn.Module] = [nn.Unflatten(1, (latent_dim, 1, 1))]
        bias = not self.batch_norm
        first = self._outputs(widths[0])
        layers += [nn.ConvTranspose2d(latent_dim, first, last_side(shape[1]), bias=bias)]
        layers += self._after_convolution(widths[0])
        for fan_in, width in zip(widths, widths[1:], strict=False):
            layers += [nn.ConvTranspose2d(fan_in, self._outputs(width), 4, 2, 1, bias=bias)]
            layers += self._after_convolution(width)
        layers += [nn.ConvTranspose2d(widths[-1], shape[0], 4, 2, 1)]
        return Net(*layers).apply(_initialize)

    def num_features(self, shape: Shape) -> int:
        """The number M of features of which the encoder's last layer makes the code.

        >>> DCGANConfig(width=64).num_features((3, 64, 64))
        8192
        """
        return self._widths(shape)[-1] * last_side(shape[1]) ** 2

    def _outputs(self, width: int) -> int:
        """The channels of a convolution that a nonlinearity turns into `width`."""
        return 2 * width if self.activation == GATED else width

    def _after_convolution(self, width: int) -> list[nn.Module]:
        blocks = [
            Residual(
                nn.Conv2d(width, self._outputs(width), 3, 1, 1, bias=not self.batch_norm),
                *self._nonlinearity(width),
                nn.Conv2d(width, width, 3, 1, 1),
            )
            for _ in range(self.blocks)
        ]
        return [*self._nonlinearity(width), *blocks]

    def _nonlinearity(self, width: int) -> list[nn.Module]:
        """Batch normalisation if there is one, and the activation."""
        norms = [nn.BatchNorm2d(self._outputs(width))] if self.batch_norm else []
        return [*norms, NONLINEARITIES[self.activation]()]

    def _widths(self, shape: Shape) -> list[int]:
        """The number of channels after each halving of the side."""
        require(
            shape[1] == shape[2] and is_dcgan_side(shape[1]),
            "DCGAN takes square images of 28 px or of a multiple of 8 px",
            shape=shape,
        )
        halvings = (shape[1] // last_side(shape[1])).bit_length() - 1
        return [self.width * self.growth**level for level in range(halvings)]


class Residual(nn.Sequential):
    """x + f(x) for the layers f [B, C, H, W] -> [B, C, H, W] (He et al. 2016, eq. 1)."""

    def forward(self, x: Tensor) -> Tensor:
        change = x
        for layer in self:
            change = layer(change)
        return x + change


def is_dcgan_side(side: int) -> bool:
    """Whether DCGAN takes images of so many pixels a side.

    >>> [side for side in range(65) if is_dcgan_side(side)]
    [8, 16, 24, 28, 32, 40, 48, 56, 64]
    """
    return side == 28 or (side >= 8 and side % 8 == 0)


def last_side(side: int) -> int:
    """The side in pixels after the last halving.

    >>> [last_side(side) for side in (8, 28, 32, 48, 64, 72)]
    [4, 7, 4, 6, 4, 9]
    """
    while side >= 8 and side % 2 == 0:
        side //= 2
    return side


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
