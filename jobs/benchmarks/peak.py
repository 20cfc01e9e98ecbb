"""The peak of the hardware for the suite "train": the operations of a training step, and the
speed of large matrix products."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from genae_core.nets.base import ComputeConfig

SIDE = {"cpu": 1024, "cuda": 8192}  # side of the square matrices that are multiplied


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of matrix products and convolutions, two for each multiplication."""

    # The FlopCounterMode of torch fails in the gradient of a WGAN's penalty.
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out


def peak_of(compute: ComputeConfig, device: str) -> str:
    """The precision of the product: bf16 on a GPU, otherwise the one of the training."""
    return "bf16" if device == "cuda" else compute.precision


def product(compute: ComputeConfig, device: str) -> Callable[[], None]:
    """A function that multiplies two large matrices."""
    dtype = torch.bfloat16 if peak_of(compute, device) == "bf16" else torch.float32
    a, b = (torch.rand(SIDE[device], SIDE[device], device=device, dtype=dtype) for _ in range(2))

    def run() -> None:
        torch.mm(a, b)

    return run
