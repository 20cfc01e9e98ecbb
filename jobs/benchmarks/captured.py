"""A step of a plain loop that is captured as a CUDA graph by hand."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from genae_core.distributions.rng import Draw

WARM_UP_STEPS = 3  # as in torch's documentation of CUDA graphs


class CapturedStep(NamedTuple):
    """A captured step.

    Attributes:
        inputs: The tensor that the step reads, which it may also overwrite.
        replay: The function that launches the step.
        step: The step as Python code. It is kept because the graph reads and writes its tensors,
            and a graph keeps none of them alive.
    """

    inputs: Tensor
    replay: Callable[[], None]
    step: Callable[[Tensor], None]

    def __call__(self, inputs: Tensor) -> None:
        """Make the step with these inputs."""
        self.inputs.copy_(inputs)
        self.replay()


def capture_by_hand(
    step: Callable[[Tensor], None], inputs: Tensor, draws: Sequence[Draw] = ()
) -> CapturedStep:
    """Capture a step.

    Args:
        step: The step, which returns nothing. The tensors that it changes keep their addresses.
        inputs: Inputs of the shape that all later inputs have.
        draws: The streams from which the step draws, besides torch's global one.
    """
    own, side = inputs.clone(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_STEPS):
            step(own)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    for draw in draws:
        graph.register_generator_state(draw.generator)
    with torch.cuda.graph(graph):
        step(own)
    return CapturedStep(own, graph.replay, step)
