"""fit(): the one training loop. Whatever lists stages of phases is trained by it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

from genae_core.config import require, require_positive_int
from genae_core.draw import Draw
from genae_core.models.base import Stage

# Each training keeps about this many points a curve, each the mean over its window of steps.
POINTS = 100


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long and in what batches; what a step does is the model's to say.

    max_images: train on the first so many images only (None: all).
    decay: "linear" takes every learning rate to 0 in equal steps over the training.
    """

    epochs: int
    batch_size: int
    max_images: int | None = None
    decay: Literal["none", "linear"] = "none"

    def __post_init__(self) -> None:
        require_positive_int(epochs=self.epochs, batch_size=self.batch_size)
        require(self.batch_size >= 2, "batch_size must be >= 2", batch_size=self.batch_size)
        require(
            self.decay in ("none", "linear"), 'decay must be "none" or "linear"', decay=self.decay
        )
        if self.max_images is not None:
            require_positive_int(max_images=self.max_images)
            fits = self.max_images >= self.batch_size
            require(
                fits,
                f"max_images must be >= batch_size {self.batch_size}",
                max_images=self.max_images,
            )


class Point(NamedTuple):
    """The mean of each loss term over the optimiser steps since the last point."""

    step: int
    terms: dict[str, float]


class Progress(NamedTuple):
    """What a watcher of fit sees after each epoch (1 is the first)."""

    epoch: int
    epochs: int
    terms: dict[str, float]


class NonFiniteLossError(FloatingPointError):
    """A loss term became NaN or infinite; the message holds the step and all terms."""


class Trainable(Protocol):
    """What fit needs of a model, which is an nn.Module."""

    def stages(self) -> tuple[Stage, ...]: ...


def fit(
    model: nn.Module,
    stages: tuple[Stage, ...],
    num_examples: int,
    batch: Callable[[NDArray[np.int64]], Any],
    config: TrainingConfig,
    draw: Draw,
    on_epoch: Callable[[Progress], None] = lambda _: None,
    order: Callable[[Draw], NDArray[np.int64]] | None = None,
) -> list[Point]:
    """Train `model` through its stages and leave it in evaluation mode.

    batch: int64 indices [B] into 0..num_examples-1 -> what the losses take. order: an epoch's
    order of all indices (None: a permutation, new for each epoch); what does not fill a batch is
    left to the next epoch's. For each phase: zero, backward, step that player's optimiser.
    Raises NonFiniteLossError where a loss term does.
    """
    fits = config.batch_size <= num_examples
    require(
        fits,
        f"batch_size must be at most the {num_examples} training images",
        batch_size=config.batch_size,
    )
    steps_an_epoch = num_examples // config.batch_size
    every = max(1, steps_an_epoch * config.epochs * len(stages) // POINTS)
    history: list[Point] = []
    step = 0
    for stage in stages:
        players = {phase.player.name: phase.player for phase in stage.phases}
        adams = {name: p.optimizer.build(p.parameters) for name, p in players.items()}
        last_factor = 0.0 if config.decay == "linear" else 1.0
        total = steps_an_epoch * config.epochs
        decays = [LinearLR(adam, 1.0, last_factor, total) for adam in adams.values()]
        window: dict[str, Tensor] = {}
        since = 0  # steps in the window
        for epoch in range(1, config.epochs + 1):
            model.train()  # a watcher may have sampled from it
            rows = order(draw) if order else draw.permutation(num_examples).cpu().numpy()
            for index in np.split(rows, range(config.batch_size, len(rows), config.batch_size)):
                if len(index) < config.batch_size:
                    break
                images = batch(index)
                for phase in stage.phases:
                    for _ in range(phase.repeats):
                        loss, terms = phase.loss(model, images, draw)
                        adam = adams[phase.player.name]
                        adam.zero_grad(set_to_none=True)
                        loss.backward(inputs=phase.player.parameters)  # type: ignore[no-untyped-call]
                        adam.step()
                        for name, term in terms.items():
                            share = term.detach() / phase.repeats
                            window[name] = window.get(name, torch.zeros_like(share)) + share
                for decay in decays:
                    decay.step()
                step, since = step + 1, since + 1
                if step % every == 0:
                    history.append(_point(step, window, since))
                    window, since = {}, 0
            last = history[-1].terms if history else {}
            on_epoch(Progress(epoch, config.epochs, last))
        if since:
            history.append(_point(step, window, since))
    model.eval()
    return history


def _point(step: int, window: dict[str, Tensor], steps: int) -> Point:
    terms = {name: float(total) / steps for name, total in window.items()}
    if not np.isfinite(list(terms.values())).all():
        shown = ", ".join(f"{name}={value}" for name, value in terms.items())
        raise NonFiniteLossError(
            f"the loss is not finite by optimiser step {step}: {shown}; "
            "a smaller learning rate usually helps"
        )
    return Point(step, terms)
