"""fit(): the one training loop. Whatever lists stages of phases is trained by it."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

from genae_core.config import require
from genae_core.distributions.rng import Draw
from genae_core.models.base import Examples, Phase, Stage
from genae_core.nets.cuda_graphs import Replay, uses_cuda_graphs
from genae_core.training.config import TrainingConfig

# Each training keeps about this many points a curve, each the mean over its window of steps.
POINTS = 100
COUNTS = ("stage", "epoch", "batch", "step", "since")  # of a state, as `Run` names them


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


class Trained(NamedTuple):
    """What a training gave beside its model; seconds: of its steps, whenever they were made."""

    history: list[Point]
    seconds: float


class NonFiniteLossError(FloatingPointError):
    """A loss term became NaN or infinite; the message holds the step and all terms."""


class State(NamedTuple):
    """All that a training needs to go on where it stands: tensors by name, and plain values."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


class Keeper(Protocol):
    """Keeps a training's state, so that it can go on after whatever stops it."""

    def found(self) -> State | None:
        """The state to go on from; None begins at the beginning."""

    def due(self) -> bool:
        """Whether the state should be kept now; asked after each step."""

    def keep(self, state: State) -> None: ...


def fit(
    model: nn.Module,
    stages: tuple[Stage, ...],
    examples: Examples,
    config: TrainingConfig,
    draw: Draw,
    on_epoch: Callable[[Progress], None] = lambda _: None,
    keeper: Keeper | None = None,
) -> Trained:
    """Train `model` through its stages and leave it in evaluation mode.

    What does not fill a batch is left to the next epoch's. For each phase: zero, backward, step
    that player's optimiser. keeper: is given the state when it asks for it, and at the end. A
    training that goes on from a state ends with the same bits as one that was never stopped (on a
    CPU); its watcher may see an epoch twice.
    Raises NonFiniteLossError where a loss term does, ValueError where a state is of another model.
    """
    run = Run(model, stages, examples, config, draw)
    state = None if keeper is None else keeper.found()
    if state is not None:
        run.load(state)
    before = (run.stage, run.step)
    while run.stage < len(stages):
        if not run.begun:
            run.begin(draw.generator.get_state())
        while run.epoch < run.lengths[run.stage]:
            model.train()  # a watcher may have sampled from it
            for batch in run.batches():
                run.moved(batch)
                run.stepped()
                if keeper is not None and keeper.due():
                    keeper.keep(run.state())
                    run.waited()
            on_epoch(run.progress())
        run.end()
    if keeper is not None and (state is None or before != (run.stage, run.step)):
        keeper.keep(run.state())
    model.eval()
    return Trained(run.history, run.seconds)


class Run:
    """A training as it stands: `stage` and `epoch` are the finished ones, `batch` of the epoch
    that has begun; `begun`: whether the next stage has its examples and its optimisers. Whoever
    drives it has it `moved` by each of its batches, and then `stepped`."""

    def __init__(
        self,
        model: nn.Module,
        stages: tuple[Stage, ...],
        examples: Examples,
        config: TrainingConfig,
        draw: Draw,
    ) -> None:
        require(
            config.batch_size <= examples.count,
            f"batch_size must be at most the {examples.count} training images",
            batch_size=config.batch_size,
        )
        self.model, self.stages, self.examples = model, stages, examples
        self.config, self.draw = config, draw
        self.drops = has_dropout(model)
        self.lengths = [(stage.epochs or config.epochs) if stage.phases else 0 for stage in stages]
        self.steps_an_epoch = examples.count // config.batch_size
        self.total = max(1, self.steps_an_epoch * sum(self.lengths))
        self.every = max(1, self.total // POINTS)
        self.history: list[Point] = []
        self.stage = self.epoch = self.batch = self.step = 0
        self.window: dict[str, Tensor] = {}
        self.nothing = torch.zeros((), device=draw.device)
        self.since = 0  # steps in the window
        self.seconds, self.mark = 0.0, time.perf_counter()  # of the steps, and where they began
        self.begun = False
        self.replay: Replay | None = None
        self.adams: dict[str, torch.optim.Adam] = {}
        self.decays: dict[str, LinearLR] = {}
        # The stream where this stage and this epoch began: what they drew first is drawn again.
        self.stage_stream = self.epoch_stream = draw.generator.get_state()

    def begin(self, stream: Tensor) -> None:
        """The next stage, from its own examples; stream: where the draw then stood."""
        self.waited()
        stage = self.stages[self.stage]
        self.stage_stream = stream
        self.draw.generator.set_state(stream)
        given = self.examples
        if stage.inputs is not None:
            given = stage.inputs(self.model, self.examples, self.draw)
        self.given = given
        self.epoch_stream = self.draw.generator.get_state()
        players = {phase.player.name: phase.player for phase in stage.phases}
        self.adams = {name: p.optimizer.build(p.parameters) for name, p in players.items()}
        length = self.steps_an_epoch * self.lengths[self.stage]
        self.decays = {
            name: LinearLR(adam, 1.0, 0.0, length)
            for name, adam in self.adams.items()
            if self.config.decay == "linear"
        }
        if uses_cuda_graphs(self.model, self.draw.device) and not (self.drops or self.decays):
            adams = list(self.adams.values())
            self.replay = Replay(self.draw.device, [self.draw], adams)
        self.begun = True
        self._count(1.0)

    def end(self) -> None:
        if self.since:
            self.history.append(_point(self.step, self.window, self.since))
        self.window, self.since = {}, 0
        self.stage, self.epoch, self.begun = self.stage + 1, 0, False
        if self.replay is not None:
            self.replay = None
            for adam in self.adams.values():
                adam.zero_grad(set_to_none=True)  # they lie in the recording's memory

    def batches(self) -> Iterator[Any]:
        """What is left of an epoch, a step's batch at a time."""
        self.waited()
        now, again = self.draw.generator.get_state(), self.batch > 0
        if again:
            self.draw.generator.set_state(self.epoch_stream)
        else:
            self.epoch_stream = now
        order = self.given.order or _any_order(self.given.count)
        rows = order(self.draw)
        if again:
            self.draw.generator.set_state(now)
        size = self.config.batch_size
        while self.batch < self.steps_an_epoch:
            yield self.given.batch(rows[self.batch * size : (self.batch + 1) * size])
        self.epoch, self.batch = self.epoch + 1, 0

    def moved(self, batch: object) -> None:
        """Make the moves of a batch and note their loss terms."""
        moves = self._moves(batch) if self.replay is None else self.replay(self._moves, batch)
        for phase, terms in zip(turns(self.stages[self.stage]), moves, strict=True):
            for name, term in terms.items():
                seen = self.window.get(name, self.nothing)
                self.window[name] = torch.add(seen, term, alpha=1 / phase.repeats)

    def _moves(self, batch: Any) -> list[dict[str, Tensor]]:
        """Make the moves; the loss terms of each."""
        found = []
        for phase in turns(self.stages[self.stage]):
            adam = self.adams[phase.player.name]
            with masks_from(self.draw, self.drops):
                loss, terms = phase.loss(self.model, batch, self.draw)
            adam.zero_grad(set_to_none=True)
            loss.backward(inputs=phase.player.parameters)  # type: ignore[no-untyped-call]
            adam.step()
            if phase.project is not None:
                phase.project(self.model)
            found.append({name: term.detach() for name, term in terms.items()})
        return found

    def stepped(self, share: float = 1.0) -> None:
        """All moves of a batch are made and noted. share: of the time since the last one that was
        this training's. Raises NonFiniteLossError."""
        for decay in self.decays.values():
            decay.step()
        self.step, self.since, self.batch = self.step + 1, self.since + 1, self.batch + 1
        if self.step % self.every == 0:
            self.history.append(_point(self.step, self.window, self.since))
            self.window, self.since = {}, 0
        self._count(share)

    def waited(self) -> None:
        """The time since the last step was not the training's: a watcher's, or a keeper's."""
        self.mark = time.perf_counter()

    def _count(self, share: float) -> None:
        now = time.perf_counter()
        self.seconds, self.mark = self.seconds + share * (now - self.mark), now

    def progress(self) -> Progress:
        last = self.history[-1].terms if self.history else {}
        stage, length = self.stages[self.stage], self.lengths[self.stage]
        final = self.stage == len(self.stages) - 1
        return Progress(stage.name, self.epoch, length, self.step / self.total, final, last)

    def state(self) -> State:
        """It is copied: the training may go on."""
        tensors = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        for player, adam in self.adams.items():
            for number, moments in adam.state_dict()["state"].items():
                tensors |= {f"adam.{player}.{number}.{name}": t for name, t in moments.items()}
        tensors |= {f"window.{name}": term for name, term in self.window.items()}
        tensors |= {
            "stream": self.draw.generator.get_state(),
            "stream of stage": self.stage_stream,
            "stream of epoch": self.epoch_stream,
        }
        counts = {name: getattr(self, name) for name in COUNTS}
        decays = {name: decay.state_dict() for name, decay in self.decays.items()}
        history = [[point.step, point.terms] for point in self.history]
        values = {**counts, "decays": decays, "history": history, "seconds": self.seconds}
        return State({name: tensor.clone() for name, tensor in tensors.items()}, values)

    def load(self, state: State) -> None:
        """Go on from there. Raises ValueError where it is of another model or training."""
        tensors, values = state
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
        try:
            for name in COUNTS:
                setattr(self, name, int(values[name]))
            self.model.load_state_dict(parts["model"])
            if self.stage < len(self.stages):
                self.begin(tensors["stream of stage"])
                self.model.load_state_dict(parts["model"])  # what the stage's inputs have set
                for player, adam in self.adams.items():
                    adam.load_state_dict(_adam_state(adam, parts.get("adam", {}), player))
                for player, decay in self.decays.items():
                    kept = values["decays"][player]
                    decay.load_state_dict(kept)
                    groups = self.adams[player].param_groups
                    for group, rate in zip(groups, kept["_last_lr"], strict=True):
                        group["lr"] = rate
            self.history = [Point(step, terms) for step, terms in values["history"]]
            self.seconds = float(values.get("seconds", 0.0))  # an older state has not counted
        except (KeyError, IndexError, RuntimeError, TypeError) as error:
            raise ValueError(f"the state is of another model or training: {error}") from None
        device = self.draw.device
        self.window = {name: term.to(device) for name, term in parts.get("window", {}).items()}
        self.epoch_stream = tensors["stream of epoch"]
        self.draw.generator.set_state(tensors["stream"])


def turns(stage: Stage) -> list[Phase]:
    """The phases of a step, each as often as it is repeated."""
    return [phase for phase in stage.phases for _ in range(phase.repeats)]


def _adam_state(adam: torch.optim.Adam, saved: dict[str, Tensor], player: str) -> dict[str, Any]:
    """A state_dict from the tensors that `Run.state` names PLAYER.NUMBER.MOMENT."""
    parameters = [p for group in adam.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in saved.items():
        of, number, moment = name.rsplit(".", 2)
        if of == player:
            like = parameters[int(number)]
            if tensor.shape == like.shape:  # a fused step reads both in the order of their memory
                tensor = torch.empty_like(like).copy_(tensor)
            moments.setdefault(int(number), {})[moment] = tensor
    return {"state": moments, "param_groups": adam.state_dict()["param_groups"]}


def masks_from(draw: Draw, drops: bool) -> AbstractContextManager[None]:
    """Have torch's dropout layers, which draw from its global state alone, draw from `draw`.

    drops: whether the model has any; to look takes as long as a small layer.
    """
    return draw.as_global() if drops else nullcontext()


def has_dropout(model: nn.Module) -> bool:
    """Whether it has layers of torch's that drop anything."""
    layers = (m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd))
    return any(layer.p > 0 for layer in layers)


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
