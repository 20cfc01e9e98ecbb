"""The state of a running training: everything that changes from one optimiser step to the next."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from genae_core.config import require
from genae_core.distributions.rng import Draw
from genae_core.models.base import Examples, Phase, Stage
from genae_core.nets.cuda_graphs import Replay, uses_cuda_graphs
from genae_core.nets.sharing import sharing
from genae_core.training.config import TrainingConfig
from genae_core.training.curve import NUM_POINTS, LossCurve, Point
from genae_core.training.dropout import has_dropout, masks_from
from genae_core.training.optimizers import Optimizers
from genae_core.training.processes import (
    average_gradients,
    check_divides,
    current_peers,
    share,
    share_examples,
)


class Progress(NamedTuple):
    """The progress of a training at the end of an epoch.

    Attributes:
        stage: The name of the current stage.
        epoch: The number of finished epochs of the stage.
        epochs: The number of all epochs of the stage.
        done: The fraction of the optimiser steps of all stages that are done, in (0, 1].
        last_stage: Whether this is the last stage, in which the model can already be sampled.
        terms: The loss terms of the newest point of the loss curve.
    """

    stage: str
    epoch: int
    epochs: int
    done: float
    last_stage: bool
    terms: dict[str, float]


class TrainingResult(NamedTuple):
    """The results of a training, besides the trained model.

    Attributes:
        history: The loss curve.
        seconds: The duration of all optimiser steps, also of the steps before an interruption.
    """

    history: list[Point]
    seconds: float


class TrainingSession:
    """The state of a training, and the methods that advance it.

    For each stage, a loop calls `begin_stage`; for each epoch, `batches`; for each batch,
    `run_phases` and `finish_step`; and at the end of the stage, `end_stage` (see `fit`).

    Attributes:
        stage: The number of finished stages, which is the index of the current one.
        epoch: The number of finished epochs of the current stage.
        batch: The number of finished batches of the current epoch.
        step: The number of finished optimiser steps of all stages.
        stage_has_begun: Whether the current stage has its examples and its optimisers.
    """

    def __init__(
        self,
        model: nn.Module,
        stages: tuple[Stage, ...],
        examples: Examples,
        config: TrainingConfig,
        draw: Draw,
    ) -> None:
        self.peers = current_peers()
        examples = share_examples(self.peers, examples, draw.device)
        require(
            config.batch_size <= examples.count,
            f"batch_size must be at most the {examples.count} training images",
            batch_size=config.batch_size,
        )
        check_divides(config.batch_size, self.peers.size)
        self.model, self.stages, self.examples = model, stages, examples
        self.config, self.draw = config, draw
        self.has_dropout = has_dropout(model)
        self.epochs = [(stage.epochs or config.epochs) if stage.phases else 0 for stage in stages]
        self.steps_per_epoch = examples.count // config.batch_size
        self.total_steps = max(1, self.steps_per_epoch * sum(self.epochs))
        self.stage = self.epoch = self.batch = self.step = 0
        self.stage_has_begun = False
        self.stage_examples = examples
        self.optimizers = Optimizers()
        self.replay: Replay | None = None
        self.curve = LossCurve(max(1, self.total_steps // NUM_POINTS), draw.device)
        self.seconds, self.clock = 0.0, time.perf_counter()
        # The states of the random stream at the start of the current stage and of the current
        # epoch. From them, a training that continues draws the stage's inputs and the epoch's
        # order again.
        self.stage_stream = self.epoch_stream = draw.generator.get_state()

    @property
    def is_finished(self) -> bool:
        """Whether all stages are finished."""
        return self.stage == len(self.stages)

    @property
    def stage_is_trained(self) -> bool:
        """Whether all epochs of the current stage are finished."""
        return self.epoch >= self.epochs[self.stage]

    def copy_first(self) -> None:
        """Take the weights and the random stream of the first of the processes that share the
        training."""
        if self.peers.size == 1:
            return
        weights = {name: tensor.cpu() for name, tensor in self.model.state_dict().items()}
        weights, stream = share(self.peers, (weights, self.draw.generator.get_state()))
        self.model.load_state_dict(weights)
        self.draw.generator.set_state(stream)

    def begin_stage(self, stream: Tensor | None = None) -> None:
        """Make the examples and the optimisers of the current stage.

        Args:
            stream: The state of the random stream at the start of the stage; None takes the
                present state.
        """
        self.restart_clock()
        stage = self.stages[self.stage]
        self.stage_stream = self.draw.generator.get_state() if stream is None else stream
        self.draw.generator.set_state(self.stage_stream)
        self.stage_examples = self.examples
        if stage.inputs is not None:
            with sharing(self.peers):
                self.stage_examples = stage.inputs(self.model, self.examples, self.draw)
        self.epoch_stream = self.draw.generator.get_state()
        decays = self.config.decay == "linear"
        steps = self.steps_per_epoch * self.epochs[self.stage]
        self.optimizers = Optimizers(stage, steps if decays else None)
        # A captured step would repeat the dropout masks and the learning rate of its capture.
        changes = self.has_dropout or decays or self.peers.size > 1
        if uses_cuda_graphs(self.model, self.draw.device) and not changes:
            optimizers = list(self.optimizers.by_player.values())
            self.replay = Replay(self.draw.device, [self.draw], optimizers)
        self.stage_has_begun = True
        self._add_seconds(1.0)

    def end_stage(self) -> None:
        """Finish the current stage, so that the next one becomes the current stage."""
        self.curve.end_window(self.step)
        self.stage, self.epoch, self.stage_has_begun = self.stage + 1, 0, False
        if self.replay is not None:
            self.replay = None
            self.optimizers.drop_gradients()  # They lie in the memory of the graph.

    def batches(self) -> Iterator[Any]:
        """Yield the remaining batches of the current epoch, and then finish the epoch."""
        self.restart_clock()
        order = self._epoch_order()
        size = self.config.batch_size
        while self.batch < self.steps_per_epoch:
            yield self.stage_examples.batch(order[self.batch * size : (self.batch + 1) * size])
        self.epoch, self.batch = self.epoch + 1, 0

    def _epoch_order(self) -> NDArray[np.int64]:
        """Draw the order of the examples in the current epoch.

        After an interruption within the epoch, the same order is drawn again.
        """
        stream = self.draw.generator.get_state()
        within_epoch = self.batch > 0
        if within_epoch:
            self.draw.generator.set_state(self.epoch_stream)
        else:
            self.epoch_stream = stream
        draw_order = self.stage_examples.order or _permutation(self.stage_examples.count)
        order = draw_order(self.draw)
        if within_epoch:
            self.draw.generator.set_state(stream)
        return order

    def run_phases(self, batch: object) -> None:
        """Run all phases of an optimiser step on a batch and add their loss terms to the curve."""
        if self.replay is None:
            terms_of_phases = self._step_players(batch)
        else:
            terms_of_phases = self.replay(self._step_players, batch)
        phases = repeated_phases(self.stages[self.stage])
        for phase, terms in zip(phases, terms_of_phases, strict=True):
            self.curve.add(terms, 1 / phase.repeats)

    def _step_players(self, batch: Any) -> list[dict[str, Tensor]]:
        """Step the player of each phase once and return the phases' loss terms."""
        terms_of_phases = []
        for phase in repeated_phases(self.stages[self.stage]):
            optimizer = self.optimizers.by_player[phase.player.name]
            with sharing(self.peers):
                with masks_from(self.draw, self.has_dropout):
                    loss, terms = phase.loss(self.model, batch, self.draw)
                optimizer.zero_grad(set_to_none=True)
                loss.backward(inputs=phase.player.parameters)  # type: ignore[no-untyped-call]
            average_gradients(self.peers, phase.player.parameters)
            optimizer.step()
            if phase.project is not None:
                phase.project(self.model)
            terms_of_phases.append({name: term.detach() for name, term in terms.items()})
        return terms_of_phases

    def finish_step(self, fraction: float = 1.0) -> None:
        """Count an optimiser step after its phases have run.

        Args:
            fraction: The fraction of the time since the last step that this training used.

        Raises:
            NonFiniteLossError: A loss term of the finished window is NaN or infinite.
        """
        self.optimizers.step_schedules()
        self.step, self.batch = self.step + 1, self.batch + 1
        self.curve.count_step(self.step)
        self._add_seconds(fraction)

    def restart_clock(self) -> None:
        """Leave the time since the last step, which a callback used, out of the training's
        seconds."""
        self.clock = time.perf_counter()

    def _add_seconds(self, fraction: float) -> None:
        """Add a fraction of the time since the last call to the training's seconds."""
        now = time.perf_counter()
        self.seconds, self.clock = self.seconds + fraction * (now - self.clock), now

    def progress(self) -> Progress:
        """The progress of the training."""
        points = self.curve.points
        return Progress(
            stage=self.stages[self.stage].name,
            epoch=self.epoch,
            epochs=self.epochs[self.stage],
            done=self.step / self.total_steps,
            last_stage=self.stage == len(self.stages) - 1,
            terms=points[-1].terms if points else {},
        )

    def result(self) -> TrainingResult:
        """The loss curve and the seconds so far."""
        return TrainingResult(self.curve.points, self.seconds)


def repeated_phases(stage: Stage) -> list[Phase]:
    """The phases of an optimiser step in order; a phase with repeats is listed several times."""
    return [phase for phase in stage.phases for _ in range(phase.repeats)]


def _permutation(count: int) -> Callable[[Draw], NDArray[np.int64]]:
    """The default of `Examples.order`."""
    return lambda draw: draw.permutation(count).cpu().numpy()
