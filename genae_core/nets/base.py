"""What a network config gives: the two bodies of an autoencoder, and how they compute. Nothing
else knows layers.

Shapes: B batch, C channels, H rows, W columns, D latent dimension.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from genae_core.config import register, require


@contextmanager
def sampling_mode(model: nn.Module, batch_norm: Literal["batch", "running"]) -> Iterator[None]:
    """No gradients, dropout off, batch normalisation by the batch or by its running averages;
    the running averages are not touched and every module's mode is restored."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    modes = [(module, module.training) for module in model.modules()]
    tracked = [(norm, norm.track_running_stats) for norm in norms]
    model.eval()
    if batch_norm == "batch":
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        for norm, track in tracked:
            norm.track_running_stats = track


Shape = tuple[int, int, int]


@register("compute")
@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How networks compute.

    precision: "fp32", or "bf16": matrix products and convolutions in bfloat16, the weights, their
    gradients, losses and optimisers in float32 (torch's autocast). channels_last: the values of a
    pixel lie together, which convolutions can be faster with. cuda_graphs: on a GPU, record a
    step of the training and of a chain once and launch it as one, where that can be; what is
    computed stays the same.
    """

    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        require(
            self.precision in ("fp32", "bf16"),
            'precision must be "fp32" or "bf16"',
            precision=self.precision,
        )
        for name in ("channels_last", "cuda_graphs"):
            given = getattr(self, name)
            require(isinstance(given, bool), f"{name} must be True or False", **{name: given})


class Net(nn.Sequential):
    """Layers, one after the other, that compute as `compute_as` has told them; float32 in and
    out."""

    compute = ComputeConfig()

    def forward(self, x: Tensor) -> Tensor:
        if self.compute.channels_last and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if self.compute.precision == "fp32":
            return self._layers(x)
        with torch.autocast(x.device.type, torch.bfloat16):
            return self._layers(x).float()

    def _layers(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return out


def compute_as(model: nn.Module, compute: ComputeConfig) -> None:
    """Have the networks of a model compute so, from now on."""
    layout = torch.channels_last if compute.channels_last else torch.contiguous_format
    for net in model.modules():
        if isinstance(net, Net):
            net.compute = compute
            net.to(memory_format=layout)  # type: ignore[call-overload]


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
