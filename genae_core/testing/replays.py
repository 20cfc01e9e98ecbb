"""A stand-in for CUDA graphs on a CPU, and a watch for operations that no graph can hold."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from genae_core.distributions.rng import Draw
from genae_core.nets import cuda_graphs

# These operations give Python a number, or a shape that depends on values, so they wait for a GPU.
SYNCHRONIZING = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal"}
SYNCHRONIZING |= {"allclose", "_unique2", "unique_consecutive", "unique_dim"}
SYNCHRONIZING |= {"repeat_interleave", "bincount"}
# torch.tensor() has this name; it copies from Python's memory to the device.
UPLOADING = {"lift_fresh"}


class Rerun:
    """A stand-in for a captured graph. A replay calls the function again with the same input
    tensors, and overwrites the outputs of the first call."""

    def __init__(self, function: Callable[[Any], Any], inputs: Any) -> None:
        self.function, self.inputs = function, inputs
        self.outputs: Any = None

    def replay(self) -> None:
        outputs = self.function(self.inputs)
        if self.outputs is None:
            self.outputs = tree_map(lambda leaf: leaf if leaf is None else leaf.clone(), outputs)
            return
        for target, value in zip(tree_leaves(self.outputs), tree_leaves(outputs), strict=True):
            if target is not None:
                target.copy_(value)


def capture_on_cpu(monkeypatch: pytest.MonkeyPatch) -> list[Rerun]:
    """Let the CPU "capture" steps until the test ends.

    Args:
        monkeypatch: pytest's fixture.

    Returns:
        The captured steps; each capture appends one to the list.
    """
    captured: list[Rerun] = []

    def warm_up(function: Callable[[Any], Any], inputs: Any, _: Any) -> tuple[Any, bool]:
        return function(inputs), False

    def capture(
        function: Callable[[Any], Any], inputs: Any, draws: Sequence[Draw], device: torch.device
    ) -> Any:
        captured.append(Rerun(function, inputs))
        return captured[-1]

    # torch asks for a GPU before it steps an optimiser that is being captured.
    rmsprop = importlib.import_module("torch.optim.rmsprop")
    monkeypatch.setattr(rmsprop, "_get_capturable_supported_devices", lambda: ["cpu"])
    monkeypatch.setattr(cuda_graphs, "can_capture", lambda device: True)
    monkeypatch.setattr(cuda_graphs, "warm_up", warm_up)
    monkeypatch.setattr(cuda_graphs, "capture", capture)
    # A failed capture sets this to False; the fixture restores it.
    monkeypatch.setattr(cuda_graphs.Replay, "possible", True)
    return captured


class Watch(TorchDispatchMode):
    """Raises AssertionError at an operation that waits for a GPU or copies Python's values to it.

    It sees only operations that a CPU dispatches, and so not .numpy() and .tolist().

    Attributes:
        operations: The name of each operation, and the arguments that a graph would freeze.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[str, list[Any]]] = []
        # On a CPU, one_hot reads the results of aminmax; on a GPU it does not.
        self.ranges: list[Tensor] = []
        self.paused = False

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Do not watch the operations while a `with` block runs."""
        self.paused = True
        yield
        self.paused = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        if self.paused:
            unwatched: object = func(*args, **(kwargs or {}))
            return unwatched
        name = func._schema.name.removeprefix("aten::")
        indices = args[1] if name in ("index", "index_put_", "index_put") else ()
        by_mask = any(isinstance(i, Tensor) and i.dtype == torch.bool for i in indices)
        frozen = [v for v in tree_leaves((args, kwargs)) if isinstance(v, (bool, int, float, str))]
        self.operations.append((name, frozen))
        reads_range = any(args[0] is tensor for tensor in self.ranges) if args else False
        if (name in SYNCHRONIZING | UPLOADING and not reads_range) or by_mask:
            raise AssertionError(f"{name} in a step")
        result: object = func(*args, **(kwargs or {}))
        if name == "aminmax":
            self.ranges += tree_leaves(result)
        return result
