"""What a network config gives: the two bodies of an autoencoder. Nothing else knows layers.

Shapes: B batch, C channels, H rows, W columns, D latent dimension.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from torch import nn

Shape = tuple[int, int, int]


class NetConfig(Protocol):
    """Bodies for images of shape (C, H, W). Raises ValueError for a shape it cannot take."""

    def build_encoder(self, shape: Shape, num_outputs: int) -> nn.Module:
        """[B, C, H, W] -> [B, num_outputs], no activation at the end."""

    def build_decoder(self, latent_dim: int, shape: Shape) -> nn.Module:
        """[B, D] -> logits [B, C, H, W]."""


@contextmanager
def running_statistics(model: nn.Module) -> Iterator[None]:
    """Batch normalisation by its running averages, which are not touched; gradients flow."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    modes = [(norm, norm.training, norm.track_running_stats) for norm in norms]
    for norm in norms:
        norm.training, norm.track_running_stats = False, True
    try:
        yield
    finally:
        for norm, training, track in modes:
            norm.training, norm.track_running_stats = training, track
