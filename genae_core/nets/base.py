"""The bodies of an autoencoder, which a network config builds; how they compute and are sampled.

Shapes: B batch, C channels, H rows, W columns, D latent dimension.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from genae_core.config import register, require
from genae_core.nets.sharing import compute_rows

Shape = tuple[int, int, int]
BatchNorm = Literal["batch", "running"]


class NetConfig(Protocol):
    """The config of an encoder body and a decoder body."""

    def build_encoder(self, shape: Shape, num_outputs: int) -> nn.Module:
        """Build the body of the encoder.

        Args:
            shape: (C, H, W) of the images.
            num_outputs: The number of outputs for each image.

        Returns:
            The module [B, C, H, W] -> [B, num_outputs], without an activation at its end.

        Raises:
            ValueError: The network cannot take images of this shape.
        """

    def build_decoder(self, latent_dim: int, shape: Shape) -> nn.Module:
        """Build the body of the decoder.

        Args:
            latent_dim: D.
            shape: (C, H, W) of the images.

        Returns:
            The module [B, D] -> [B, C, H, W], without an activation at its end.

        Raises:
            ValueError: The network cannot make images of this shape.
        """


@register("compute")
@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How networks compute.

    Args:
        precision: "fp32" or "bf16". "bf16" computes matrix products and convolutions in bfloat16
            (torch's autocast); weights, gradients, losses and optimisers stay in float32.
        channels_last: Whether the channels of a pixel are stored next to each other, which makes
            some convolutions faster.
        cuda_graphs: Whether a GPU captures a step of the training and a step of a chain as CUDA
            graphs, if that is possible, and replays them. The results stay the same.

    Raises:
        ValueError: A value is not one of those above.
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
            value = getattr(self, name)
            require(isinstance(value, bool), f"{name} must be True or False", **{name: value})


class Net(nn.Sequential):
    """A sequence of layers that compute as `compute_as` has set. Inputs and outputs are
    float32.

    Processes that share a training divide the rows of x among them. So the layers must treat each
    row alone, except for torch's batch normalisation.
    """

    compute = ComputeConfig()

    def forward(self, x: Tensor) -> Tensor:
        return compute_rows(self._compute, x)

    def _compute(self, x: Tensor) -> Tensor:
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
    """Set how all `Net`s of a model compute from now on.

    Args:
        model: The model, which is changed in place.
        compute: How its networks compute.
    """
    layout = torch.channels_last if compute.channels_last else torch.contiguous_format
    for net in model.modules():
        if isinstance(net, Net):
            net.compute = compute
            net.to(memory_format=layout)  # type: ignore[call-overload]


@contextmanager
def batch_norm_mode(model: nn.Module, mode: BatchNorm) -> Iterator[None]:
    """Set the mode of a model's batch normalisations while a `with` block runs.

    The running averages do not change. After the block, every batch normalisation is in its former
    mode again.

    Args:
        model: The model.
        mode: "batch" normalises by the statistics of the batch, "running" by the running averages.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    former = [(norm, norm.training, norm.track_running_stats) for norm in norms]
    for norm in norms:
        norm.training = mode == "batch"
        norm.track_running_stats = mode == "running"
    try:
        yield
    finally:
        for norm, training, track_running_stats in former:
            norm.training, norm.track_running_stats = training, track_running_stats


@contextmanager
def sampling_mode(model: nn.Module, batch_norm: BatchNorm) -> Iterator[None]:
    """Switch gradients and dropout off, and set the mode of batch normalisation, while a `with`
    block runs.

    After the block, every module is in its former mode again.

    Args:
        model: The model to sample.
        batch_norm: "batch" normalises by the statistics of the batch, "running" by the running
            averages of the training, which do not change.
    """
    former = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with batch_norm_mode(model, batch_norm), torch.no_grad():
            yield
    finally:
        for module, training in former:
            module.training = training
