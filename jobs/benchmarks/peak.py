"""What the hardware could do at most, for the suite "train": the work of a training in operations,
and the speed of large matrix products.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from genae_core.nets.base import ComputeConfig

SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices whose product is the hardware's peak


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what matrix products and convolutions compute, two operations a multiplication."""

    # torch's own FlopCounterMode fails inside the gradient of a WGAN's penalty.
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
    """The precision of the peak: of a GPU bf16, else the one that was chosen."""
    return "bf16" if device == "cuda" else compute.precision


def product(compute: ComputeConfig, device: str) -> Callable[[], None]:
    """One product of large matrices."""
    dtype = torch.bfloat16 if peak_of(compute, device) == "bf16" else torch.float32
    a, b = (torch.rand(SIDE[device], SIDE[device], device=device, dtype=dtype) for _ in range(2))

    def run() -> None:
        torch.mm(a, b)

    return run
