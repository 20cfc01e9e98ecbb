"""Replay: a function of tensors that a GPU records once and then launches as one (CUDA graphs).

A small network's step is hundreds of short kernels, which Python launches slower than a GPU runs
them. What is recorded is the kernels and where their tensors lie, not the Python around them.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from genae_core.draw import Draw
from genae_core.nets.base import Net

# Calls as they come, in which libraries choose their kernels and optimisers make their moments.
WARM = 2

Function = Callable[[Any], Any]


class Recording(NamedTuple):
    """replay: launches it. outputs: what it writes to."""

    replay: Callable[[], None]
    outputs: Any


class Replay:
    """function(inputs) -> outputs, both trees of tensors: called twice, then recorded, and from
    then on replayed.

    A call copies its inputs to where the recording reads them, and gives tensors that the next one
    overwrites. What else the function reads and writes (weights, moments) must stay where it lies,
    and what it does in Python (counts, rates) as it is. draws: whatever it draws from; they go on
    as if it were called. optimizers: those that it steps. What cannot be recorded is said once,
    and called as ever.
    """

    def __init__(
        self,
        function: Function,
        draws: Sequence[Draw],
        optimizers: Sequence[torch.optim.Optimizer] = (),
    ) -> None:
        self.function, self.draws, self.optimizers = function, draws, optimizers
        self.calls = 0
        self.failed = False
        self.inputs: Any = None
        self.recording: Recording | None = None

    def __call__(self, inputs: Any) -> Any:
        if self.failed:
            return self.function(inputs)
        if self.calls < WARM:
            self.calls += 1
            outputs, waited = aside(self.function, inputs)
            if waited and self.calls == WARM:  # the first may, for what a library sets up
                self._fail("it waits for the device")
            return outputs
        if self.recording is None:
            self._record(inputs)
        if self.recording is None:
            return self.function(inputs)
        for kept, given in zip(tree_leaves(self.inputs), tree_leaves(inputs), strict=True):
            if kept is not None:
                kept.copy_(given)
        self.recording.replay()
        return self.recording.outputs

    def _record(self, inputs: Any) -> None:
        streams = [draw.generator.get_state() for draw in self.draws]
        self.inputs = tree_map(lambda leaf: leaf if leaf is None else leaf.clone(), inputs)
        self._capturable(True)
        try:
            self.recording = record(self.function, self.inputs, self.draws)
        except Exception as error:  # whatever the device, or the function, makes of it
            self._capturable(False)
            for draw, stream in zip(self.draws, streams, strict=True):
                # Its own may believe that it is still recorded.
                draw.generator = torch.Generator(device=draw.device)
                draw.generator.set_state(stream)
            self._fail(f"{error!r:.300}")

    def _fail(self, why: str) -> None:
        self.failed = True
        told = f"a step cannot be recorded, and is launched kernel by kernel: {why}"
        warnings.warn(told, RuntimeWarning, stacklevel=2)

    def _capturable(self, yes: bool) -> None:
        """What torch's optimisers want to be told before they are recorded, and only then."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["capturable"] = yes


def can_record(device: torch.device) -> bool:
    return device.type == "cuda"


def replays(model: nn.Module, device: torch.device) -> bool:
    """Whether the steps of a model on this device are to be recorded, as `compute_as` has it."""
    nets = (module for module in model.modules() if isinstance(module, Net))
    return can_record(device) and any(net.compute.cuda_graphs for net in nets)


def only_tensors(tree: Any) -> bool:
    """Whether the whole tree can be an input: what counts in Python would stand still."""
    return all(leaf is None or isinstance(leaf, Tensor) for leaf in tree_leaves(tree))


def aside(function: Function, inputs: Any) -> tuple[Any, bool]:
    """Call it on another stream than the default, as what will be recorded wants to be begun; what
    it gives, and whether it waited for the device, which what is recorded may not."""
    main, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    mode = torch.cuda.get_sync_debug_mode()
    side.wait_stream(main)
    with warnings.catch_warnings(record=True) as said, torch.cuda.stream(side):
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            outputs = function(inputs)
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    main.wait_stream(side)
    waited = ["synchronizing CUDA operation" in str(warning.message) for warning in said]
    for warning, own in zip(said, waited, strict=True):
        if not own:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return outputs, any(waited)


def record(function: Function, inputs: Any, draws: Sequence[Draw]) -> Recording:
    """What it launches, none of which runs."""
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    for draw in draws:
        graph.register_generator_state(draw.generator)
    try:
        # Other threads, which load images or send logs, may go on.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = function(inputs)
    finally:
        torch.cuda.set_stream(before)  # a recording that fails does not come back to it
    return Recording(graph.replay, outputs)
