"""The loss curve of a training: means of the loss terms over windows of optimiser steps."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

NUM_POINTS = 100  # The loss curve of a training has about this number of points.


class Point(NamedTuple):
    """One point of a loss curve.

    Attributes:
        step: The number of finished optimiser steps.
        terms: The mean of each loss term over the steps since the previous point, by name.
    """

    step: int
    terms: dict[str, float]


class NonFiniteLossError(FloatingPointError):
    """A loss term is NaN or infinite; the message states the step and all terms."""


class LossCurve:
    """Sums the loss terms of a window of steps and turns each window into a point.

    The sums stay tensors on the training's device, because reading a number from a GPU waits for
    it. Only the end of a window reads them.

    Args:
        window_length: The number of optimiser steps in a window.
        device: The device of the loss terms.
    """

    def __init__(self, window_length: int, device: torch.device) -> None:
        self.window_length = window_length
        self.points: list[Point] = []
        self.sums: dict[str, Tensor] = {}
        self.steps = 0  # the number of steps in the current window
        self.zero = torch.zeros((), device=device)

    def add(self, terms: dict[str, Tensor], weight: float) -> None:
        """Add the loss terms of one phase, each times the weight, to the current window."""
        for name, term in terms.items():
            self.sums[name] = torch.add(self.sum_of(name), term, alpha=weight)

    def sum_of(self, name: str) -> Tensor:
        """The sum of a term in the current window; 0 at the beginning of a window."""
        return self.sums.get(name, self.zero)

    def count_step(self, step: int) -> None:
        """Count optimiser step number `step`, and end the window if it is full."""
        self.steps += 1
        if step % self.window_length == 0:
            self.end_window(step)

    def end_window(self, step: int) -> None:
        """Make a point of the current window, unless it has no steps.

        Raises:
            NonFiniteLossError: A term is NaN or infinite.
        """
        if self.steps == 0:
            return
        terms = {name: float(total) / self.steps for name, total in self.sums.items()}
        if not all(map(math.isfinite, terms.values())):
            values = ", ".join(f"{name}={value}" for name, value in terms.items())
            raise NonFiniteLossError(
                f"the loss is not finite by optimiser step {step}: {values}; "
                "a smaller learning rate usually helps"
            )
        self.points.append(Point(step, terms))
        self.sums, self.steps = {}, 0
