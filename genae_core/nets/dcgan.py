"""The DCGAN bodies of Creswell et al. 2017, section 4.1, for square images of 32 or 64 px.

The encoder has strided convolutions, and the decoder has fractionally-strided ones. Batch
normalisation and ReLU follow each convolution except the last. The decoder's sigmoid is part of
the likelihood. Weights start from N(0, 0.02^2) and the scales of batch normalisation from
N(1, 0.02^2), as in Radford et al. 2016.
"""

from dataclasses import dataclass

from torch import nn

from genae_core.config import register, require, require_positive_int
from genae_core.nets.base import Net, Shape


@register("net.dcgan")
@dataclass(frozen=True, kw_only=True)
class DCGANConfig:
    """The DCGAN encoder and decoder.

    At 64 px the default ends in 4 x 4 x 512 = 8192 features, the paper's M (appendix A).

    Args:
        width: The number of channels of the first layer. It doubles each time that the image's
            side is halved.

    Raises:
        ValueError: The width is not a whole number >= 1.
    """

    width: int = 64

    def __post_init__(self) -> None:
        require_positive_int(width=self.width)

    def build_encoder(self, shape: Shape, num_outputs: int) -> Net:
        layers: list[nn.Module] = []
        fan_in = shape[0]
        for width in self._widths(shape):
            layers += [nn.Conv2d(fan_in, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width)]
            layers += [nn.ReLU()]
            fan_in = width
        layers += [nn.Conv2d(fan_in, num_outputs, 4), nn.Flatten()]
        return Net(*layers).apply(_initialize)

    def build_decoder(self, latent_dim: int, shape: Shape) -> Net:
        widths = self._widths(shape)[::-1]
        layers: list[nn.Module] = [nn.Unflatten(1, (latent_dim, 1, 1))]
        layers += [nn.ConvTranspose2d(latent_dim, widths[0], 4, bias=False)]
        layers += [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for fan_in, width in zip(widths, widths[1:], strict=False):
            layers += [nn.ConvTranspose2d(fan_in, width, 4, 2, 1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.ConvTranspose2d(widths[-1], shape[0], 4, 2, 1)]
        return Net(*layers).apply(_initialize)

    def _widths(self, shape: Shape) -> list[int]:
        """The number of channels after each halving of the side, from the image down to 4 x 4."""
        square = shape[1] == shape[2] and shape[1] in (32, 64)
        require(square, "DCGAN takes square images of 32 or 64 px", shape=shape)
        halvings = {32: 3, 64: 4}[shape[1]]
        return [self.width * 2**level for level in range(halvings)]


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
