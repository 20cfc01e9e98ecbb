"""A stack of several replicas of a model: their tensors are stacked, and one call steps all.

Shapes: S replicas.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from genae_core.models.base import Player
from genae_core.nets.cuda_graphs import Replay, uses_cuda_graphs
from genae_core.training.optimizers import parameters_of
from genae_core.training.session import TrainingSession, repeated_phases
from genae_core.training.vmapped_loss import StackingError, VmappedLoss


class Stack:
    """The current stage of several trainings, with all tensors stacked to [S, ...].

    The tensors of each replica become views of the stacked ones, so that its model can be sampled
    and its snapshot taken at any time.

    Args:
        sessions: The trainings, whose current stage has begun.

    Raises:
        StackingError: A loss of the stage cannot be computed for all replicas at once.
    """

    def __init__(self, sessions: Sequence[TrainingSession]) -> None:
        first = sessions[0]
        self.sessions = sessions
        self.stage = first.stages[first.stage]
        self.sums: dict[str, Tensor] = {}  # the sums of the windows of all loss curves, [S] each
        if first.has_dropout:
            raise StackingError("the dropout layers draw from torch's global random state")
        rows = np.arange(first.config.batch_size)
        batches = [session.stage_examples.batch(rows) for session in sessions]
        numbers = range(len(self.stage.phases))
        self.losses = [VmappedLoss(first, number, batches[0]) for number in numbers]
        models = [session.model for session in sessions]
        self.parameters = _stack_and_share([dict(model.named_parameters()) for model in models])
        for parameter in self.parameters.values():
            parameter.requires_grad_()
        self.buffers = _stack_and_share([dict(model.named_buffers()) for model in models])
        names = {id(parameter): name for name, parameter in first.model.named_parameters()}
        self.optimizers: dict[str, StackedOptimizer] = {}
        for player in {phase.player.name: phase.player for phase in self.stage.phases}.values():
            leaves = [self.parameters[names[id(parameter)]] for parameter in player.parameters]
            self.optimizers[player.name] = StackedOptimizer(player, leaves, sessions)
        try:
            for loss in self.losses:
                loss.check(self.parameters, self.buffers, _stack_trees(batches))
        except StackingError:
            self.separate()
            raise
        self.replay: Replay | None = None
        device = first.draw.device
        if uses_cuda_graphs(first.model, device) and not first.optimizers.schedules:
            optimizers = [stacked.optimizer for stacked in self.optimizers.values()]
            draws = [session.draw for session in sessions]
            self.replay = Replay(device, draws, optimizers)

    def run_phases(self, batches: Sequence[Any]) -> None:
        """Run all phases of an optimiser step, and add the loss terms to the replicas' curves.

        Args:
            batches: The batch of each replica.
        """
        batch = _stack_trees(batches)
        if self.replay is None:
            terms_of_phases = self._step_players(batch)
        else:
            terms_of_phases = self.replay(self._step_players, batch)
        if not self.sessions[0].curve.sums:  # The curves have begun a new window.
            self.sums = {}
        for phase, terms in zip(repeated_phases(self.stage), terms_of_phases, strict=True):
            for name, term in terms.items():
                self._sum_of(name).add_(term, alpha=1 / phase.repeats)

    def _sum_of(self, name: str) -> Tensor:
        """The sums [S] of a loss term. The sums of the replicas' curves are views of them."""
        if name not in self.sums:
            curves = [session.curve for session in self.sessions]
            self.sums[name] = _stack([curve.sum_of(name) for curve in curves])
            for curve, own_sum in zip(curves, self.sums[name].unbind(), strict=True):
                curve.sums[name] = own_sum
        return self.sums[name]

    def _step_players(self, batch: Any) -> list[dict[str, Tensor]]:
        """Step the player of each phase once and return the phases' loss terms, [S] each."""
        terms_of_phases = []
        for number, phase in enumerate(self.stage.phases):
            for _ in range(phase.repeats):
                terms_of_phases.append(self._step_player(number, batch))
        return terms_of_phases

    def _step_player(self, number: int, batch: Any) -> dict[str, Tensor]:
        """Step the player of phase `number` and return the loss terms, [S] each."""
        loss = self.losses[number]
        optimizer = self.optimizers[self.stage.phases[number].player.name]
        noise = loss.draw_noise([session.draw for session in self.sessions])
        losses, terms = loss(self.parameters, self.buffers, batch, noise)
        optimizer.step(losses)
        for session in self.sessions:
            project = session.stages[session.stage].phases[number].project
            if project is not None:
                project(session.model)
        return {name: term.detach() for name, term in terms.items()}

    def separate(self) -> None:
        """Copy the tensors of each model, so that the models share no memory any more."""
        for session in self.sessions:
            for tensor in (*session.model.parameters(), *session.model.buffers()):
                tensor.data = tensor.data.clone()


class StackedOptimizer:
    """The optimiser of one player for all replicas.

    The moments of each replica's own optimiser become views of the stacked ones.

    Args:
        player: The player of one replica.
        leaves: The player's parameters, stacked to [S, ...].
        sessions: The replicas' trainings.
    """

    def __init__(
        self, player: Player, leaves: list[Tensor], sessions: Sequence[TrainingSession]
    ) -> None:
        self.leaves = leaves
        self.replicas = [session.optimizers.by_player[player.name] for session in sessions]
        self.optimizer = player.optimizer.build(leaves)
        for replica in self.replicas:
            # Without gradients this step changes nothing. But without it, a learning-rate schedule
            # would warn that it is stepped before its optimiser.
            replica.step()
        self._gather()

    def step(self, losses: Tensor) -> None:
        """Make a step of every replica, which minimises its loss in `losses` [S]."""
        groups = zip(self.optimizer.param_groups, self.replicas[0].param_groups, strict=True)
        for group, own_group in groups:
            group["lr"] = own_group["lr"]  # A schedule may have changed it.
        self.optimizer.zero_grad(set_to_none=True)
        # A replica's loss depends on its own parameters only, so the gradient of the sum holds
        # the gradients of all losses.
        losses.sum().backward(inputs=self.leaves)  # type: ignore[no-untyped-call]
        is_first_step = not self.optimizer.state
        self.optimizer.step()
        if is_first_step:
            self._share_moments()

    def _gather(self) -> None:
        """Stack the moments of the replicas' optimisers, if a snapshot has set them."""
        if not self.replicas[0].state:
            return
        parameters = [parameters_of(replica) for replica in self.replicas]
        for number, leaf in enumerate(self.leaves):
            states = []
            for replica, own in zip(self.replicas, parameters, strict=True):
                states.append(replica.state.get(own[number], {}))
            if not all(states):  # No loss has used this parameter.
                continue
            moments = {
                name: _stack([state[name] for state in states]) for name in _moments(states[0])
            }
            self.optimizer.state[leaf] = {"step": states[0]["step"], **moments}
        self._share_moments()

    def _share_moments(self) -> None:
        """Make the moments of each replica's optimiser views of the stacked ones."""
        for index, replica in enumerate(self.replicas):
            for parameter, leaf in zip(parameters_of(replica), self.leaves, strict=True):
                if leaf not in self.optimizer.state:  # No loss has used this parameter.
                    continue
                state = self.optimizer.state[leaf]
                moments = {name: state[name][index] for name in _moments(state)}
                replica.state[parameter] = {"step": state["step"], **moments}


def _moments(state: dict[str, Tensor]) -> list[str]:
    """The names of an optimiser's moments of one parameter: its state without the step."""
    return [name for name in state if name != "step"]


def _stack_and_share(tensors_of_models: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Stack the models' tensors by name, and turn each model's tensors into views of the
    stacks."""
    stacked = {}
    for name in tensors_of_models[0]:
        own_tensors = [tensors[name] for tensors in tensors_of_models]
        stacked[name] = _stack(own_tensors)
        for own, view in zip(own_tensors, stacked[name].unbind(), strict=True):
            own.data = view
    return stacked


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.detach() for tensor in tensors])


def _stack_trees(batches: Sequence[Any]) -> Any:
    """Stack the batches to one tree of tensors, [S, B, ...] each."""
    return tree_map(lambda *tensors: torch.stack(tensors), *batches)
