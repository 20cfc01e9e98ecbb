"""Where all randomness enters: tensors drawn from one seeded generator.

Nothing in genae draws from torch's global state. Library code that can only draw from it
(weight initialisation) runs inside `Draw.as_global`, which forks the global state from this
stream and restores it.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Draw:
    """A named stream of random tensors.

    seed and names fix the stream: `Draw(0, "chain", 3)` is the same on every run, and
    independent of `Draw(0, "chain", 4)`. Bit identity holds at equal device.
    """

    def __init__(self, seed: int, *names: str | int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        digest = hashlib.sha256(repr((int(seed), *names)).encode()).digest()
        self.generator = torch.Generator(device=self.device)
        self.generator.manual_seed(int.from_bytes(digest[:8], "big", signed=True))

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """N(0, 1), float32."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """U[0, 1), float32."""
        return torch.rand(shape, generator=self.generator, device=self.device)

    def mask(self, shape: tuple[int, ...], keep: float) -> Tensor:
        """1 with probability `keep`, else 0, float32."""
        return (self.uniform(shape) < keep).float()

    def permutation(self, size: int) -> Tensor:
        """A random order of 0..size-1, int64."""
        return torch.randperm(size, generator=self.generator, device=self.device)

    @contextmanager
    def as_global(self) -> Iterator[None]:
        """Run a block whose calls draw from torch's global state, that of the CPU and of this
        stream's device, seeded from this stream."""
        seed = int(torch.randint(2**62, (), generator=self.generator, device=self.device).item())
        gpus = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.default_generator.manual_seed(seed)
            for gpu in gpus:
                with torch.cuda.device(gpu):
                    torch.cuda.manual_seed(seed)
            yield
