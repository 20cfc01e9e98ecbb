"""fit(): the one training loop. Whatever lists stages of phases is trained by it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

from genae_core.config import require, require_positive_int
from genae_core.draw import Draw
from genae_core.models.base import Examples, Phase, Stage

# Each training keeps about this many points a curve, each the mean over its window of steps.
POINTS = 100


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long and in what batches; what a step does is the model's to say.

    max_images: train on the first so many images only (None: all).
    num_labelled: of these, use the labels of the first so many only (None: all).
    decay: "linear" takes every learning rate to 0 in equal steps over the training.
    """

    epochs: int
    batch_size: int
    max_images: int | None = None
    num_labelled: int | None = None
    decay: Literal["none", "linear"] = "none"

    def __post_init__(self) -> None:
        require_positive_int(epochs=self.epochs, batch_size=self.batch_size)
        require(self.batch_size >= 2, "batch_size must be >= 2", batch_size=self.batch_size)
        require(
            self.decay in ("none", "linear"), 'decay must be "none" or "linear"', decay=self.decay
        )
        if self.num_labelled is not None:
            require_positive_int(num_labelled=self.num_labelled)
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
    """What a watcher of fit sees after each epoch (1 is the first) of a stage.

    done: the share of all optimiser steps, over all stages, in (0, 1]. last_stage: whether the
    model can be sampled already.
    """

    stage: str
    epoch: int
    epochs: int
    done: float
    last_stage: bool
    terms: dict[str, float]


class NonFiniteLossError(FloatingPointError):
    """A loss term became NaN or infinite; the message holds the step and all terms."""


def fit(
    model: nn.Module,
    stages: tuple[Stage, ...],
    examples: Examples,
    config: TrainingConfig,
    draw: Draw,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> list[Point]:
    """Train `model` through its stages and leave it in evaluation mode.

    What does not fill a batch is left to the next epoch's. For each phase: zero, backward, step
    that player's optimiser. Raises NonFiniteLossError where a loss term does.
    """
    fits = config.batch_size <= examples.count
    require(
        fits,
        f"batch_size must be at most the {examples.count} training images",
        batch_size=config.batch_size,
    )
    lengths = [(stage.epochs or config.epochs) if stage.phases else 0 for stage in stages]
    steps_an_epoch = examples.count // config.batch_size
    total = max(1, steps_an_epoch * sum(lengths))
    every = max(1, total // POINTS)
    history: list[Point] = []
    step = 0
    for stage, epochs in zip(stages, lengths, strict=True):
        given = examples if stage.inputs is None else stage.inputs(model, examples, draw)
        players = {phase.player.name: phase.player for phase in stage.phases}
        adams = {name: p.optimizer.build(p.parameters) for name, p in players.items()}
        last_factor = 0.0 if config.decay == "linear" else 1.0
        decays = [LinearLR(a, 1.0, last_factor, steps_an_epoch * epochs) for a in adams.values()]
        window: dict[str, Tensor] = {}
        since = 0  # steps in the window
        for epoch in range(1, epochs + 1):
            model.train()  # a watcher may have sampled from it
            order = given.order or _any_order(given.count)
            rows = order(draw)
            for index in np.split(rows, range(config.batch_size, len(rows), config.batch_size)):
                if len(index) < config.batch_size:
                    break
                batch = given.batch(index)
                for phase in stage.phases:
                    for _ in range(phase.repeats):
                        terms = _play(phase, adams[phase.player.name], model, batch, draw)
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
            on_epoch(Progress(stage.name, epoch, epochs, step / total, stage is stages[-1], last))
        if since:
            history.append(_point(step, window, since))
    model.eval()
    return history


def _play(
    phase: Phase, adam: torch.optim.Adam, model: nn.Module, batch: object, draw: Draw
) -> dict[str, Tensor]:
    """One step of a phase; its loss terms."""
    loss, terms = phase.loss(model, batch, draw)
    adam.zero_grad(set_to_none=True)
    loss.backward(inputs=phase.player.parameters)  # type: ignore[no-untyped-call]
    adam.step()
    if phase.project is not None:
        phase.project(model)
    return terms


def _any_order(count: int) -> Callable[[Draw], NDArray[np.int64]]:
    return lambda draw: draw.permutation(count).cpu().numpy()


def _point(step: int, window: dict[str, Tensor], steps: int) -> Point:
    terms = {name: float(total) / steps for name, total in window.items()}
    if not np.isfinite(list(terms.values())).all():
        shown = ", ".join(f"{name}={value}" for name, value in terms.items())
        raise NonFiniteLossError(
            f"the loss is not finite by optimiser step {step}: {shown}; "
            "a smaller learning rate usually helps"
        )
    return Point(step, terms)
