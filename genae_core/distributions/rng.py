"""The only source of randomness: tensors drawn from a seeded generator.

Nothing in genae draws from torch's global state. Library code that can draw only from it, such as
the initialisation of weights, runs inside `Draw.as_global`, which seeds the global state from this
stream and restores it afterwards.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Draw:
    """A named stream of random tensors.

    The seed and the names determine the stream: `Draw(0, "chain", 3)` is the same in every
    process, and independent of `Draw(0, "chain", 4)`. Streams are bit-identical on equal devices.

    Args:
        seed: The seed.
        *names: The names of the stream, in order.
        device: The device of the tensors.
    """

    def __init__(self, seed: int, *names: str | int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        digest = hashlib.sha256(repr((int(seed), *names)).encode()).digest()
        self.generator = torch.Generator(device=self.device)
        self.generator.manual_seed(int.from_bytes(digest[:8], "big", signed=True))

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Samples of N(0, 1), float32."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Samples of U[0, 1), float32."""
        return torch.rand(shape, generator=self.generator, device=self.device)

    def mask(self, shape: tuple[int, ...], keep: float) -> Tensor:
        """1 with probability `keep` and 0 otherwise, float32."""
        return (self.uniform(shape) < keep).float()

    def permutation(self, size: int) -> Tensor:
        """A random order of 0, ..., size - 1, int64."""
        return torch.randperm(size, generator=self.generator, device=self.device)

    @contextmanager
    def as_global(self) -> Iterator[None]:
        """Run a block in which torch's global state, of the CPU and of this stream's device, is
        seeded from this stream; afterwards the former state is restored."""
        seed = int(torch.randint(2**62, (), generator=self.generator, device=self.device).item())
        gpus = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.default_generator.manual_seed(seed)
            for gpu in gpus:
                with torch.cuda.device(gpu):
                    torch.cuda.manual_seed(seed)
            yield
