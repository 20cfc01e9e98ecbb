"""Steps that a GPU captures once as a CUDA graph and then replays as one launch.

A step of a small network is hundreds of short kernels, and Python launches them more slowly than a
GPU runs them. A graph holds the kernels and the addresses of their tensors, but none of the Python
code around them.
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

# The number of plain calls before the capture. During them, libraries choose their kernels and
# optimisers create their moments.
WARM_UP_CALLS = 2

Function = Callable[[Any], Any]


class NotCapturedWarning(RuntimeWarning):
    """A step cannot be captured as a CUDA graph, so its kernels are launched one by one."""


class Graph(NamedTuple):
    """A captured function.

    Attributes:
        replay: The function that launches the kernels.
        outputs: The tree of tensors that the kernels write to.
    """

    replay: Callable[[], None]
    outputs: Any


class Replay:
    """Calls function(inputs) -> outputs: plainly at first, and later by replaying a CUDA graph.

    Inputs and outputs are trees of tensors. A replay copies the inputs to the addresses that the
    graph reads, and the next replay overwrites the outputs. Everything else that the function
    reads and writes (weights, moments) must keep its address, and everything that it does in
    Python (counters, learning rates) must be the same in each call. If the inputs hold anything
    but tensors, the call is plain, because the graph would freeze a number among them. If the
    function cannot be captured, all calls are plain, after a NotCapturedWarning.

    Args:
        device: The GPU.
        draws: All streams that the function draws from. A replay advances them as a call does.
        optimizers: All optimisers that the function steps.
    """

    # This is False after a failed capture, which can leave torch's allocator in a state in which
    # no other capture succeeds.
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
        self.graph: Graph | None = None

    # The caller passes the same function in each call. This object does not keep it: the function
    # is often a method of the object's owner, and the reference cycle would hold the owner's GPU
    # memory until Python collects cycles.
    def __call__(self, function: Function, inputs: Any) -> Any:
        if self.failed or not Replay.possible or not _all_tensors(inputs):
            return function(inputs)
        if self.calls < WARM_UP_CALLS:
            self.calls += 1
            outputs, synchronized = warm_up(function, inputs, self.device)
            # The first call may wait for the device, because libraries initialise during it.
            if synchronized and self.calls == WARM_UP_CALLS:
                self._fail("it waits for the device")
            return outputs
        if self.graph is None:
            self._capture(function, inputs)
        if self.graph is None:
            return function(inputs)
        for target, value in zip(tree_leaves(self.inputs), tree_leaves(inputs), strict=True):
            if target is not None:
                target.copy_(value)
        self.graph.replay()
        return self.graph.outputs

    def _capture(self, function: Function, inputs: Any) -> None:
        streams = [draw.generator.get_state() for draw in self.draws]
        self.inputs = tree_map(lambda leaf: leaf if leaf is None else leaf.clone(), inputs)
        self._set_capturable(True)
        try:
            self.graph = capture(function, self.inputs, self.draws, self.device)
        except Exception as error:  # The device and the function may raise anything.
            self._set_capturable(False)
            Replay.possible = False
            for draw, stream in zip(self.draws, streams, strict=True):
                # The old generator may still be in its capturing state.
                draw.generator = torch.Generator(device=draw.device)
                draw.generator.set_state(stream)
            self._fail(f"{error!r:.300}")

    def _fail(self, reason: str) -> None:
        self.failed = True
        warnings.warn(
            "a step cannot be captured as a CUDA graph, so its kernels are launched one by one: "
            f"{reason}",
            NotCapturedWarning,
            stacklevel=2,
        )

    def _set_capturable(self, capturable: bool) -> None:
        """Set the flag that torch's optimisers need during a capture, and only then."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["capturable"] = capturable


def can_capture(device: torch.device) -> bool:
    """Whether the device has CUDA graphs."""
    return device.type == "cuda"


def uses_cuda_graphs(model: nn.Module, device: torch.device) -> bool:
    """Whether the steps of a model on this device are captured, as `compute_as` set it."""
    nets = (module for module in model.modules() if isinstance(module, Net))
    return can_capture(device) and any(net.compute.cuda_graphs for net in nets)


def warm_up(function: Function, inputs: Any, device: torch.device) -> tuple[Any, bool]:
    """Call the function on the stream of the later capture.

    Returns:
        The function's outputs, and whether it waited for the device, which a captured function
        must not do.
    """
    main, side = torch.cuda.current_stream(device), _side_stream(device)
    mode = torch.cuda.get_sync_debug_mode()
    side.wait_stream(main)
    with warnings.catch_warnings(record=True) as caught, torch.cuda.stream(side):
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            outputs = function(inputs)
        finally:
            torch.cuda.set_sync_debug_mode(mode)
            main.wait_stream(side)
    messages = [str(warning.message) for warning in caught]
    for warning, message in zip(caught, messages, strict=True):
        # The debug mode also warns that it is a prototype; "ynchroniz" matches that text as well.
        if "ynchroniz" not in message:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return outputs, any("synchronizing CUDA operation" in message for message in messages)


def capture(function: Function, inputs: Any, draws: Sequence[Draw], device: torch.device) -> Graph:
    """Capture the kernels that the function launches, without running them."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
    for draw in draws:
        graph.register_generator_state(draw.generator)
    # With "thread_local", other threads can load images or send logs during the capture.
    context = torch.cuda.graph(
        graph, stream=_side_stream(device), capture_error_mode="thread_local"
    )
    try:
        with context:
            outputs = function(inputs)
    finally:
        torch.cuda.set_stream(stream)  # A failed capture does not return to the former stream.
    return Graph(graph.replay, outputs)


def _all_tensors(tree: Any) -> bool:
    return all(leaf is None or isinstance(leaf, Tensor) for leaf in tree_leaves(tree))


def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """The device's one stream beside the default one. Each further stream would need memory of
    its own."""
    return _stream(torch.cuda.current_device() if device.index is None else device.index)


@functools.cache
def _stream(index: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(index)  # type: ignore[no-untyped-call]
