"""The loss of one phase for several replicas of a model at once (torch.func.vmap).

Shapes: S replicas.
"""

import copy
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_map

from genae_core.distributions.rng import Draw
from genae_core.models.base import Loss
from genae_core.nets.base import ComputeConfig, compute_as
from genae_core.training.session import TrainingSession

Call = tuple[str, tuple[int, ...]]  # the name of a method of Draw, and the shape that it draws


class StackingError(Exception):
    """A loss cannot be computed for several replicas at once; the message says why.

    The loss branches on the values of tensors, draws from torch's global random state, or draws
    something other than normal and uniform noise.
    """


class VmappedLoss:
    """A phase's loss(model, batch, draw), computed for S replicas by one call.

    vmap cannot draw from S random streams, so the noise is drawn before the call. To find out what
    the loss draws, it is called once on the meta device, which computes no values.

    Args:
        session: The training of one replica, at the beginning of a stage.
        phase: The index of the phase in the stage.
        batch: A batch of this replica.

    Raises:
        StackingError: What the loss draws depends on values, or it cannot be stacked.
    """

    def __init__(self, session: TrainingSession, phase: int, batch: Any) -> None:
        self.phase = session.stages[session.stage].phases[phase]
        self.module = _LossModule(session.model, self.phase.loss)
        lister = _ListingDraw()
        try:
            # The loss of a stage may refer to the model that made the stage.
            meta_model: Any = copy.deepcopy(session.model).to("meta").train()
            compute_as(meta_model, ComputeConfig())  # The meta device has no autocast.
            loss = meta_model.stages()[session.stage].phases[phase].loss
            loss(meta_model, tree_map(lambda tensor: tensor.to("meta"), batch), lister)
        except StackingError as error:
            raise self._unstackable(str(error)) from None
        except Exception as error:  # A loss may raise anything on tensors without values.
            reason = "it decides by the values of tensors what it computes or draws"
            raise self._unstackable(f"{reason} ({_first_line(error)})") from error
        self.calls: list[Call] = lister.calls

    def draw_noise(self, draws: Sequence[Draw]) -> list[Tensor]:
        """Draw the noise of one call, tensors [S, ...], from the streams of the replicas."""
        noise = []
        for method, shape in self.calls:
            noise.append(torch.stack([getattr(draw, method)(shape) for draw in draws]))
        return noise

    def __call__(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        batch: Any,
        noise: list[Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the losses.

        Args:
            parameters: The replicas' parameters by name, [S, ...] each.
            buffers: The replicas' buffers by name, [S, ...] each. They are changed in place.
            batch: The replicas' batches, a tree of tensors [S, B, ...].
            noise: The noise from `draw_noise`.

        Returns:
            The losses [S] and the loss terms by name, [S] each.
        """

        def loss_of_one(
            parameters: dict[str, Tensor],
            buffers: dict[str, Tensor],
            batch: Any,
            noise: list[Tensor],
        ) -> Any:
            tensors = {f"model.{name}": t for name, t in {**parameters, **buffers}.items()}
            return functional_call(self.module, tensors, (batch, noise))

        losses: tuple[Tensor, dict[str, Tensor]] = vmap(loss_of_one)(
            parameters, buffers, batch, noise
        )
        return losses

    def check(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], batch: Any) -> None:
        """Compute the losses once, with copies of the buffers and constant noise.

        Raises:
            StackingError: vmap cannot compute the losses.
        """
        example = next(iter(parameters.values()))
        count, device = len(example), example.device
        noise = [torch.full((count, *shape), 0.5, device=device) for _, shape in self.calls]
        try:
            self(parameters, {name: b.clone() for name, b in buffers.items()}, batch, noise)
        except Exception as error:  # vmap raises errors of many classes.
            reason = f"torch.func.vmap cannot compute it ({_first_line(error)})"
            raise self._unstackable(reason) from error

    def _unstackable(self, reason: str) -> StackingError:
        name = self.phase.player.name
        return StackingError(f"the loss of the player {name!r} cannot be stacked: {reason}")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]:.100}"


class _LossModule(nn.Module):
    """A module that computes a loss, because functional_call replaces the tensors of a module."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Any, noise: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.loss(self.model, batch, _ReplayingDraw(noise))


class _ListingDraw(Draw):
    """Lists the calls of its methods, which return tensors without values."""

    def __init__(self) -> None:
        self.device = torch.device("meta")
        self.calls: list[Call] = []

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        self.calls.append(("normal", shape))
        return torch.empty(shape, device=self.device)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        self.calls.append(("uniform", shape))
        return torch.empty(shape, device=self.device)

    def permutation(self, size: int) -> NoReturn:
        raise StackingError(
            "it draws a permutation, and only normal and uniform noise can be stacked"
        )

    def as_global(self) -> NoReturn:
        raise StackingError("it draws from torch's global random state")


class _ReplayingDraw(Draw):
    """Returns noise that was drawn before, in the same order."""

    def __init__(self, noise: list[Tensor]) -> None:
        self.noise = iter(noise)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return next(self.noise)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return next(self.noise)
