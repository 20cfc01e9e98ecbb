"""A critic of images that is an autoencoder: what it reconstructs badly is unlikely.

Shapes: B batch, C channels, H rows, W columns, K dimension of the critic's codes.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from genae_core.nets.base import NetConfig, Shape


class Reconstruction(NamedTuple):
    """What an autoencoding critic makes of images.

    Attributes:
        codes: The codes, [B, K].
        x: The reconstructed images, [B, C, H, W] in [0, 1].
    """

    codes: Tensor
    x: Tensor


class AutoencodingCritic(nn.Module):
    """The map of images [B, C, H, W] to their codes and their reconstruction sigmoid(d(e(x))).

    Args:
        config: The networks, whose encoder and decoder are used.
        code_dim: The dimension K of the codes.
        shape: (C, H, W) of the images.
    """

    def __init__(self, config: NetConfig, code_dim: int, shape: Shape) -> None:
        super().__init__()
        self.encoder = config.build_encoder(shape, code_dim)
        self.decoder = config.build_decoder(code_dim, shape)

    def forward(self, x: Tensor) -> Reconstruction:
        codes = self.encoder(x)
        return Reconstruction(codes, torch.sigmoid(self.decoder(codes)))
