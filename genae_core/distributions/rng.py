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

    The seed and the names determine the stream. `Draw(0, "chain", 3)` is the same in every
    process, and it is independent of `Draw(0, "chain", 4)`. Equal devices give equal bits.

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
        """Draw independent samples of N(0, 1).

        Args:
            shape: The shape of the result.

        Returns:
            A float32 tensor [*shape].
        """
        return torch.randn(shape, generator=self.generator, device=self.device)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Draw independent samples of U[0, 1).

        Args:
            shape: The shape of the result.

        Returns:
            A float32 tensor [*shape].
        """
        return torch.rand(shape, generator=self.generator, device=self.device)

    def mask(self, shape: tuple[int, ...], keep: float) -> Tensor:
        """Draw a mask, such as the one of a dropout layer.

        Args:
            shape: The shape of the result.
            keep: The probability of a 1, in [0, 1].

        Returns:
            A float32 tensor [*shape] of 0 and 1.
        """
        return (self.uniform(shape) < keep).float()

    def permutation(self, size: int) -> Tensor:
        """Draw a random order.

        Args:
            size: The number of elements.

        Returns:
            An int64 tensor [size] with 0, ..., size - 1.
        """
        return torch.randperm(size, generator=self.generator, device=self.device)

    @contextmanager
    def as_global(self) -> Iterator[None]:
        """Seed torch's global random state from this stream while a `with` block runs.

        The state of the CPU and the state of this stream's device are seeded. The former states
        are restored after the block.
        """
        seed = int(torch.randint(2**62, (), generator=self.generator, device=self.device).item())
        gpus = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.default_generator.manual_seed(seed)
            for gpu in gpus:
                with torch.cuda.device(gpu):
                    torch.cuda.manual_seed(seed)
            yield
