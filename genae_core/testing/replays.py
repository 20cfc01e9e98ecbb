"""CUDA graphs as far as a CPU can show them, and what would keep a step from being one."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from genae_core.distributions.rng import Draw
from genae_core.nets import cuda_graphs

# What hands a number to Python, or makes a shape of values: a GPU would be waited for.
WAITS = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "allclose"}
WAITS |= {"_unique2", "unique_consecutive", "unique_dim", "repeat_interleave", "bincount"}
BRINGS = {"lift_fresh"}  # torch.tensor(): from Python's memory to the device's


class Rerun:
    """In a recording's place: the function again, on the very tensors it was recorded with, and
    what it gives written over what it gave before."""

    def __init__(self, function: Callable[[Any], Any], inputs: Any) -> None:
        self.function, self.inputs = function, inputs
        self.outputs: Any = None

    def replay(self) -> None:
        found = self.function(self.inputs)
        if self.outputs is None:
            self.outputs = tree_map(lambda leaf: leaf if leaf is None else leaf.clone(), found)
        else:
            for kept, new in zip(tree_leaves(self.outputs), tree_leaves(found), strict=True):
                if kept is not None:
                    kept.copy_(new)


def on_cpu(monkeypatch: pytest.MonkeyPatch) -> list[Rerun]:
    """Have the CPU record what it is asked to; what it has recorded."""
    recorded: list[Rerun] = []

    def record(
        function: Callable[[Any], Any], inputs: Any, draws: Sequence[Draw], device: torch.device
    ) -> Any:
        recorded.append(Rerun(function, inputs))
        return recorded[-1]

    monkeypatch.setattr(cuda_graphs, "can_record", lambda device: True)
    monkeypatch.setattr(
        cuda_graphs, "aside", lambda function, inputs, _: (function(inputs), False)
    )
    monkeypatch.setattr(cuda_graphs.Replay, "possible", True)  # put back after the test
    monkeypatch.setattr(cuda_graphs, "record", record)
    return recorded


class Watched(TorchDispatchMode):
    """Raises where a GPU would be waited for or handed what lies in Python's memory, as far as a
    CPU calls for it (not .numpy() or .tolist()). seen: each operation with what of its arguments a
    recording would have for good."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[str, list[Any]]] = []
        self.ranges: list[Tensor] = []  # which one_hot looks at on a CPU alone

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name = func._schema.name.removeprefix("aten::")
        chosen = args[1] if name in ("index", "index_put_", "index_put") else ()
        by_mask = any(isinstance(i, Tensor) and i.dtype == torch.bool for i in chosen)
        frozen = [v for v in tree_leaves((args, kwargs)) if isinstance(v, (bool, int, float, str))]
        self.seen.append((name, frozen))
        looked = any(args[0] is tensor for tensor in self.ranges) if args else False
        if (name in WAITS | BRINGS and not looked) or by_mask:
            raise AssertionError(f"{name} in a step")
        found: object = func(*args, **(kwargs or {}))
        if name == "aminmax":
            self.ranges += tree_leaves(found)
        return found
