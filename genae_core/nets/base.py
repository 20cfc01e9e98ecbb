"""What a network config gives: the two bodies of an autoencoder. Nothing else knows layers.

Shapes: B batch, C channels, H rows, W columns, D latent dimension.
"""

from typing import Protocol

from torch import nn

Shape = tuple[int, int, int]


class NetConfig(Protocol):
    """Bodies for images of shape (C, H, W). Raises ValueError for a shape it cannot take."""

    def build_encoder(self, shape: Shape, num_outputs: int) -> nn.Module:
        """[B, C, H, W] -> [B, num_outputs], no activation at the end."""

    def build_decoder(self, latent_dim: int, shape: Shape) -> nn.Module:
        """[B, D] -> logits [B, C, H, W]."""
