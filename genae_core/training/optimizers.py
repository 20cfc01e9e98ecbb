"""The optimisers of a stage: one for each player."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

from genae_core.models.base import Stage


class Optimizers:
    """The optimisers of a stage's players and their learning-rate schedules, by player name.

    Args:
        stage: The stage; None gives no optimisers.
        decay_steps: The number of optimiser steps over which every learning rate falls linearly
            to 0; None keeps the rates constant.
    """

    def __init__(self, stage: Stage | None = None, decay_steps: int | None = None) -> None:
        players = {} if stage is None else {p.player.name: p.player for p in stage.phases}
        self.by_player: dict[str, torch.optim.Optimizer] = {
            name: p.optimizer.build(p.parameters) for name, p in players.items()
        }
        self.schedules: dict[str, LinearLR] = {}
        if decay_steps is not None:
            self.schedules = {
                name: LinearLR(optimizer, 1.0, 0.0, decay_steps)
                for name, optimizer in self.by_player.items()
            }

    def step_schedules(self) -> None:
        """Set the learning rates of the next optimiser step."""
        for schedule in self.schedules.values():
            schedule.step()

    def drop_gradients(self) -> None:
        """Free the memory of all gradients."""
        for optimizer in self.by_player.values():
            optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The moments, by names PLAYER.NUMBER.MOMENT. NUMBER is the parameter's index."""
        tensors = {}
        for player, optimizer in self.by_player.items():
            for number, moments in optimizer.state_dict()["state"].items():
                for name, moment in moments.items():
                    tensors[f"{player}.{number}.{name}"] = moment
        return tensors

    def schedule_states(self) -> dict[str, dict[str, Any]]:
        """The state of each schedule, as values that JSON can hold."""
        return {name: schedule.state_dict() for name, schedule in self.schedules.items()}

    def load(self, tensors: dict[str, Tensor], schedule_states: dict[str, dict[str, Any]]) -> None:
        """Load the moments that `tensors` gave, and the states that `schedule_states` gave."""
        for player, optimizer in self.by_player.items():
            optimizer.load_state_dict(_state_dict(optimizer, tensors, player))
        for player, schedule in self.schedules.items():
            state = schedule_states[player]
            schedule.load_state_dict(state)
            groups = self.by_player[player].param_groups
            for group, rate in zip(groups, state["_last_lr"], strict=True):
                group["lr"] = rate


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """The parameters of an optimiser, in order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _state_dict(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], player: str
) -> dict[str, Any]:
    """The optimiser's state dict with the moments that `Optimizers.tensors` named."""
    parameters = parameters_of(optimizer)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        owner, number, moment = name.rsplit(".", 2)
        if owner != player:
            continue
        parameter = parameters[int(number)]
        # A fused step reads a moment in the memory layout of its parameter.
        if tensor.shape == parameter.shape:
            tensor = torch.empty_like(parameter).copy_(tensor)
        state.setdefault(int(number), {})[moment] = tensor
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
