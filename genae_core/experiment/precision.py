"""The ways in which a sweep's networks can compute, and the choice of the fastest one."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from genae_core.config import require
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.least_seconds import choose_plainest
from genae_core.experiment.precision_flag import Precision
from genae_core.nets.base import ComputeConfig
from genae_core.nets.unfilled import unfilled
from genae_core.training.dropout import has_dropout


class Timing(NamedTuple):
    """A way to compute and the seconds of an optimiser step, infinite for a way that fails."""

    compute: ComputeConfig
    seconds: float


def compute_choices(
    experiment: Experiment, precision: Precision, bf16: bool, graphs: bool = False
) -> list[ComputeConfig]:
    """The ways to compute that a precision leaves open, the plainest first.

    Args:
        experiment: The experiment whose networks compute.
        precision: The value of --precision.
        bf16: Whether the hardware computes in bfloat16.
        graphs: Whether to add each way with CUDA graphs. A training with dropout or with a falling
            learning rate cannot use them.

    Raises:
        ValueError: The precision is bf16, and the hardware does not compute in it.
    """
    require(
        precision != "bf16" or bf16,
        "this hardware does not compute in bfloat16: use --precision auto or fp32",
        precision=precision,
    )
    with unfilled():
        model = experiment.model.build(experiment.data.shape)
    images = any(isinstance(part, nn.Conv2d | nn.ConvTranspose2d) for part in model.modules())
    lower = ComputeConfig(precision="bf16", channels_last=images)
    named = {
        "fp32": ComputeConfig(),
        "fp32-channels-last": ComputeConfig(channels_last=True),
        "bf16": lower,
    }
    if precision in named:
        ways = [named[precision]]
    else:
        plain = [ComputeConfig(), *([ComputeConfig(channels_last=True)] if images else [])]
        ways = plain + ([lower] if bf16 else [])
    training = experiment.training
    if not graphs or has_dropout(model) or training is None or training.decay != "none":
        return ways
    return [dataclasses.replace(way, cuda_graphs=on) for way in ways for on in (False, True)]


def flag_of(compute: ComputeConfig) -> Precision:
    """The value of --precision that chooses this way, with or without CUDA graphs."""
    if compute.precision == "bf16":
        return "bf16"
    return "fp32-channels-last" if compute.channels_last else "fp32"


def name_of(compute: ComputeConfig) -> str:
    """The flags that choose this way, in words."""
    return flag_of(compute) + (" as CUDA graphs" if compute.cuda_graphs else "")


def has_bf16(device: torch.device | str = "cpu") -> bool:
    """Whether the hardware multiplies bfloat16 matrices: by AVX-512 BF16, by AMX, or on a GPU."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def fastest(timings: Sequence[Timing]) -> ComputeConfig:
    """The plainest way, or the first one than which no other is clearly faster."""
    return timings[choose_plainest([timing.seconds for timing in timings])].compute
