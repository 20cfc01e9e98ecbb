"""Build networks without memory for their weights, to count them or to look at the layers."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

FACTORIES = (torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)
LARGE = 2**24  # elements, 64 MiB in fp32; what is larger is not made by the factories either


@contextlib.contextmanager
def unfilled() -> Iterator[None]:
    """In this context, layers make weights that have a shape and no values.

    Layers make their weights by `torch.empty`, here on the device "meta", and then fill them,
    which is left out here. So are other tensors if they are large. All else is computed as ever,
    and torch's random state is left as it was.

    Under `torch.device("meta")` nothing would have values, and torch would import its compiler,
    which takes more than a second, to find the shapes of sums and products.
    """
    with torch.random.fork_rng(devices=[]), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        without_values = func is torch.empty or (func in FACTORIES and _is_large(args))
        if without_values and kwargs.get("device") is None:  # layers pass on a device of None
            kwargs["device"] = "meta"
        target = args[0] if args else kwargs.get("tensor")  # as torch.nn.init passes it on
        if isinstance(target, Tensor) and target.is_meta and _fills(func):
            return target
        return func(*args, **kwargs)


def _is_large(args: tuple[Any, ...]) -> bool:
    """Whether a factory's arguments, n, m, ... or (n, m, ...), give a large tensor."""
    size = args[0] if args and isinstance(args[0], Sequence) else args
    return math.prod(size) > LARGE


def _fills(func: Callable[..., Any]) -> bool:
    """Whether the function writes values into its first argument, as its name says."""
    name = getattr(func, "__name__", "")
    return name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
