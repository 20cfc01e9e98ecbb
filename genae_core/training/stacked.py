"""fit_together(): several seeds of one model trained as one stacked model.

A small model leaves most of a GPU idle. Here each loss runs once for all replicas (torch.func's
vmap) over parameters [S, ...], while each replica keeps its own weights (views of the stack), data
order, noise, curve and state: what it is trained to is what `fit` would train it to, but for
rounding, and its state is one that `fit` goes on from.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_map

from genae_core.config import require
from genae_core.distributions.rng import Draw
from genae_core.models.base import Examples, GenerativeModel, Loss, Phase, Stage
from genae_core.nets.cuda_graphs import Replay, uses_cuda_graphs
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import Keeper, Progress, Run, Trained, has_dropout, turns


class Replica(NamedTuple):
    """One seed's part: see `fit`."""

    model: GenerativeModel
    stages: tuple[Stage, ...]
    examples: Examples
    draw: Draw
    on_epoch: Callable[[Progress], None] = lambda _: None
    keeper: Keeper | None = None


def fit_together(replicas: Sequence[Replica], config: TrainingConfig) -> list[Trained]:
    """Train replicas of one config through their stages; seconds: each one's part.

    A stage whose losses cannot be run for all at once (see `Unstackable`) is played by one replica
    after the other. States are kept by all keepers when one of them asks for its own.
    Raises ValueError where their states stand at different steps, and NonFiniteLossError at the
    first replica whose loss does: what its keeper has then is from before.
    """
    runs = [Run(r.model, r.stages, r.examples, config, r.draw) for r in replicas]
    for run, replica in zip(runs, replicas, strict=True):
        state = None if replica.keeper is None else replica.keeper.found()
        if state is not None:
            run.load(state)
    places = {(run.stage, run.epoch, run.batch) for run in runs}
    require(len(places) == 1, "states must stand at one step", places=sorted(places))
    first = runs[0]
    while first.stage < len(first.stages):
        for run in runs:
            if not run.begun:
                run.begin(run.draw.generator.get_state())
        stack = _stack(runs)
        while first.epoch < first.lengths[first.stage]:
            for run in runs:
                run.model.train()  # a watcher may have sampled from it
            # strict: an epoch's end is each generator's own last step.
            for batches in zip(*(run.batches() for run in runs), strict=True):
                if stack is not None:
                    stack.step(batches)
                else:
                    for run, batch in zip(runs, batches, strict=True):
                        run.moved(batch)
                for run in runs:
                    run.stepped(1 / len(runs))
                if any(replica.keeper and replica.keeper.due() for replica in replicas):
                    _keep(replicas, runs)
            for run, replica in zip(runs, replicas, strict=True):
                replica.on_epoch(run.progress())
        if stack is not None:
            stack.apart()
            stack = None  # the next stage needs its memory
        for run in runs:
            run.end()
    _keep(replicas, runs)
    for run in runs:
        run.model.eval()
    return [Trained(run.history, run.seconds) for run in runs]


class Unstackable(Exception):
    """A loss does what vmap cannot: it decides by its values, draws from torch itself, or draws
    other than what can be known beforehand."""


class Stack:
    """The runs' parameters, buffers and optimisers, each as one tensor [S, ...] of which a run's
    own are views, so that its model can be sampled and its state kept as ever."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.first, self.stage = runs[0].model, runs[0].stages[runs[0].stage]
        self.window: dict[str, Tensor] = {}  # the runs' together, [S] each
        if has_dropout(self.first):
            raise Unstackable("dropout layers draw from torch's global state")
        batches = [run.given.batch(np.arange(run.config.batch_size)) for run in runs]
        self.scripts = [self._script(number, batches[0]) for number in range(len(self.phases))]
        each = [dict(run.model.named_parameters()) for run in runs]
        held = [dict(run.model.named_buffers()) for run in runs]
        self.parameters = {n: _stacked([p[n] for p in each]).requires_grad_() for n in each[0]}
        self.buffers = {n: _stacked([b[n] for b in held]) for n in held[0]}
        for name, tensor in {**self.parameters, **self.buffers}.items():
            for own, part in zip(
                ({**p, **b}[name] for p, b in zip(each, held, strict=True)),
                tensor.detach().unbind(),
                strict=True,
            ):
                own.data = part
        names = {id(parameter): name for name, parameter in each[0].items()}
        self.adams: dict[str, torch.optim.Adam] = {}
        self.leaves: dict[str, list[Tensor]] = {}
        for player in {phase.player.name: phase.player for phase in self.phases}.values():
            leaves = [self.parameters[names[id(p)]] for p in player.parameters]
            self.leaves[player.name] = leaves
            self.adams[player.name] = player.optimizer.build(leaves)  # type: ignore[arg-type]
        for name in self.adams:
            for run in runs:
                run.adams[name].step()  # of nothing: a decay expects one before its own first
            self._take(name)
        self._try(_together(batches))
        self.replay: Replay | None = None
        device, draws = runs[0].draw.device, [run.draw for run in runs]
        if uses_cuda_graphs(self.first, device) and not runs[0].decays:
            self.replay = Replay(device, draws, list(self.adams.values()))

    @property
    def phases(self) -> tuple[Phase, ...]:
        return self.stage.phases

    def step(self, batches: Sequence[Any]) -> None:
        """All moves of a batch."""
        given = _together(batches)
        moves = self._moves(given) if self.replay is None else self.replay(self._moves, given)
        if not self.runs[0].window:  # a point of the curve has been made of it
            self.window = {}
        for phase, terms in zip(turns(self.stage), moves, strict=True):
            for name, term in terms.items():
                if name not in self.window:
                    seen = [run.window.get(name, run.nothing) for run in self.runs]
                    self.window[name] = _stacked(seen)
                    for run, part in zip(self.runs, self.window[name].unbind(), strict=True):
                        run.window[name] = part
                self.window[name].add_(term, alpha=1 / phase.repeats)

    def _moves(self, together: Any) -> list[dict[str, Tensor]]:
        """Make them; the loss terms of each, [S]."""
        return [
            self.play(number, together)
            for number, phase in enumerate(self.phases)
            for _ in range(phase.repeats)
        ]

    def play(self, number: int, together: Any) -> dict[str, Tensor]:
        """Make a move; its loss terms, [S] each."""
        player = self.phases[number].player.name
        drawn = [
            torch.stack([getattr(run.draw, kind)(shape) for run in self.runs])
            for kind, shape in self.scripts[number]
        ]
        losses, terms = self._losses(number, self.buffers, together, drawn)
        adam, leaves = self.adams[player], self.leaves[player]
        for group, own in zip(
            adam.param_groups, self.runs[0].adams[player].param_groups, strict=True
        ):
            group["lr"] = own["lr"]  # which a decay may have changed
        adam.zero_grad(set_to_none=True)
        losses.sum().backward(inputs=leaves)  # type: ignore[no-untyped-call]
        known = bool(adam.state)
        adam.step()
        if not known:
            self._give(player)
        for run in self.runs:
            same = run.stages[run.stage].phases[number]
            if same.project is not None:
                same.project(run.model)
        return {name: term.detach() for name, term in terms.items()}

    def _losses(
        self, number: int, buffers: dict[str, Tensor], together: Any, drawn: list[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A loss of each replica, [S], and its terms."""
        loss = _Loss(self.first, self.phases[number].loss)

        def one(
            parameters: dict[str, Tensor],
            buffers: dict[str, Tensor],
            batch: Any,
            drawn: list[Tensor],
        ) -> tuple[Tensor, dict[str, Tensor]]:
            tensors = {f"model.{name}": t for name, t in {**parameters, **buffers}.items()}
            found: tuple[Tensor, dict[str, Tensor]] = functional_call(
                loss, tensors, (batch, drawn)
            )
            return found

        found: tuple[Tensor, dict[str, Tensor]] = vmap(one)(
            self.parameters, buffers, together, drawn
        )
        return found

    def _try(self, together: Any) -> None:
        """Each loss once, on copies of what it changes. Raises Unstackable."""
        for number, script in enumerate(self.scripts):
            buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
            drawn = [
                torch.full((len(self.runs), *shape), 0.5, device=self.runs[0].draw.device)
                for _, shape in script
            ]
            try:
                self._losses(number, buffers, together, drawn)
            except Exception as error:
                self.apart()
                raise Unstackable(f"{self.phases[number].player.name}: {error}") from error

    def apart(self) -> None:
        """Give each run's model tensors of its own again."""
        for run in self.runs:
            for tensor in (*run.model.parameters(), *run.model.buffers()):
                tensor.data = tensor.data.clone()

    def _script(self, number: int, batch: Any) -> list[tuple[str, tuple[int, ...]]]:
        """What a loss draws, in order, found without touching a number."""
        noting = _Noting()
        try:
            model: Any = copy.deepcopy(self.first).to("meta").train()
            phase = model.stages()[self.runs[0].stage].phases[number]
            phase.loss(model, tree_map(lambda tensor: tensor.to("meta"), batch), noting)
        except Exception as error:  # whatever a loss does to what has no values
            raise Unstackable(f"{self.phases[number].player.name}: {error}") from error
        return noting.calls

    def _take(self, player: str) -> None:
        """The optimiser's moments from those that the runs were given."""
        parts = [run.adams[player].state for run in self.runs]
        own = [
            [p for group in run.adams[player].param_groups for p in group["params"]]
            for run in self.runs
        ]
        if not parts[0]:
            return
        for number, leaf in enumerate(self.leaves[player]):
            each = [state.get(mine[number], {}) for state, mine in zip(parts, own, strict=True)]
            if not all(each):  # of a parameter that no loss has used
                continue
            self.adams[player].state[leaf] = {
                "step": each[0]["step"],
                **{n: _stacked([e[n] for e in each]) for n in ("exp_avg", "exp_avg_sq")},
            }
        self._give(player)

    def _give(self, player: str) -> None:
        """Let each run's optimiser hold its part of the stacked moments."""
        for index, run in enumerate(self.runs):
            adam = run.adams[player]
            own = [p for group in adam.param_groups for p in group["params"]]
            for parameter, leaf in zip(own, self.leaves[player], strict=True):
                if leaf not in self.adams[player].state:  # no loss has used it
                    continue
                moments = self.adams[player].state[leaf]
                adam.state[parameter] = {
                    "step": moments["step"],
                    **{name: moments[name][index] for name in ("exp_avg", "exp_avg_sq")},
                }


class _Loss(nn.Module):
    """A loss as a module, which is what torch.func calls with other tensors."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Any, drawn: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.loss(self.model, batch, _Reading(drawn))


class _Noting(Draw):
    """Notes what is drawn, and gives tensors without values."""

    def __init__(self) -> None:
        self.device = torch.device("meta")
        self.calls: list[tuple[str, tuple[int, ...]]] = []

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        self.calls.append(("normal", shape))
        return torch.empty(shape, device=self.device)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        self.calls.append(("uniform", shape))
        return torch.empty(shape, device=self.device)


class _Reading(Draw):
    """Gives what was drawn before, in the same order."""

    def __init__(self, drawn: list[Tensor]) -> None:
        self.drawn = iter(drawn)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return next(self.drawn)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return next(self.drawn)


def _together(batches: Sequence[Any]) -> Any:
    return tree_map(lambda *parts: torch.stack(parts), *batches)


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([part.detach() for part in parts])


def _stack(runs: Sequence[Run]) -> Stack | None:
    """None where there is nothing to stack, or it cannot be."""
    try:
        return Stack(runs) if runs[0].lengths[runs[0].stage] else None
    except Unstackable:
        return None


def _keep(replicas: Sequence[Replica], runs: Sequence[Run]) -> None:
    """All states, also where keeping one raises (a process that is to end)."""
    with ExitStack() as each:
        for run, replica in zip(runs, replicas, strict=True):
            if replica.keeper is not None:
                each.callback(_keep_one, replica.keeper, run)
    for run in runs:
        run.waited()


def _keep_one(keeper: Keeper, run: Run) -> None:
    keeper.keep(run.state())
