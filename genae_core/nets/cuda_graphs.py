"""Replay: a function of tensors that a GPU records once and then launches as one (CUDA graphs).

A small network's step is hundreds of short kernels, which Python launches slower than a GPU runs
them. What is recorded is the kernels and where their tensors lie, not the Python around them.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from genae_core.distributions.rng import Draw
from genae_core.nets.base import Net

# Calls as they come, in which libraries choose their kernels and optimisers make their moments.
WARM = 2

Function = Callable[[Any], Any]


class NotRecorded(RuntimeWarning):
    """A step cannot be recorded, and is launched kernel by kernel."""


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
    as if it were called. optimizers: those that it steps.
    What cannot be recorded is called as ever, and NotRecorded says it. Inputs that are no tensors
    are called as ever as well: what counts in Python would stand still.
    """

    # A recording that fails can leave torch's allocator such that no other succeeds.
    possible: ClassVar[bool] = True

    def __init__(
        self,
        device: torch.device,
        draws: Sequence[Draw],
        optimizers: Sequence[torch.optim.Optimizer] = (),
    ) -> None:
        self.device, self.draws, self.optimizers = device, draws, optimizers
        self.calls = 0
        self.failed = False
        self.inputs: Any = None
        self.recording: Recording | None = None

    # The function comes with each call, and always the same: to keep a method of whoever keeps
    # this would keep all three until Python looks for cycles, with what they hold of the device.
    def __call__(self, function: Function, inputs: Any) -> Any:
        if self.failed or not Replay.possible or not only_tensors(inputs):
            return function(inputs)
        if self.calls < WARM:
            self.calls += 1
            outputs, waited = aside(function, inputs, self.device)
            if waited and self.calls == WARM:  # the first may, for what a library sets up
                self._fail("it waits for the device")
            return outputs
        if self.recording is None:
            self._record(function, inputs)
        if self.recording is None:
            return function(inputs)
        for kept, given in zip(tree_leaves(self.inputs), tree_leaves(inputs), strict=True):
            if kept is not None:
                kept.copy_(given)
        self.recording.replay()
        return self.recording.outputs

    def _record(self, function: Function, inputs: Any) -> None:
        streams = [draw.generator.get_state() for draw in self.draws]
        self.inputs = tree_map(lambda leaf: leaf if leaf is None else leaf.clone(), inputs)
        self._capturable(True)
        try:
            self.recording = record(function, self.inputs, self.draws, self.device)
        except Exception as error:  # whatever the device, or the function, makes of it
            self._capturable(False)
            Replay.possible = False
            for draw, stream in zip(self.draws, streams, strict=True):
                # Its own may believe that it is still recorded.
                draw.generator = torch.Generator(device=draw.device)
                draw.generator.set_state(stream)
            self._fail(f"{error!r:.300}")

    def _fail(self, why: str) -> None:
        self.failed = True
        told = f"a step cannot be recorded, and is launched kernel by kernel: {why}"
        warnings.warn(told, NotRecorded, stacklevel=2)

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
    return all(leaf is None or isinstance(leaf, Tensor) for leaf in tree_leaves(tree))


@functools.cache
def side_of(device: torch.device) -> torch.cuda.Stream:
    """The one stream beside the default: each new one would have memory of its own."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def aside(function: Function, inputs: Any, device: torch.device) -> tuple[Any, bool]:
    """Call it on another stream than the default, as what will be recorded wants to be begun; what
    it gives, and whether it waited for the device, which what is recorded may not."""
    main, side = torch.cuda.current_stream(device), side_of(device)
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
    texts = [str(warning.message) for warning in said]
    for warning, text in zip(said, texts, strict=True):
        if "ynchroniz" not in text:  # nor that the mode is young
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return outputs, any("synchronizing CUDA operation" in text for text in texts)


def record(
    function: Function, inputs: Any, draws: Sequence[Draw], device: torch.device
) -> Recording:
    """What it launches, none of which runs."""
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
    for draw in draws:
        graph.register_generator_state(draw.generator)
    # Other threads, which load images or send logs, may go on.
    capture = torch.cuda.graph(graph, stream=side_of(device), capture_error_mode="thread_local")
    try:
        with capture:
            outputs = function(inputs)
    finally:
        torch.cuda.set_stream(before)  # a recording that fails does not come back to it
    return Recording(graph.replay, outputs)
