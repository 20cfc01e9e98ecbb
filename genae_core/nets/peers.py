"""Tensors of which each of several processes has some rows, and the gradients through them."""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Peers(NamedTuple):
    """The processes that share a training: those of torch.distributed's default group.

    Attributes:
        rank: The number of this process, from 0.
        size: The number of processes.
    """

    rank: int
    size: int


ALONE = Peers(0, 1)


class Rows(NamedTuple):
    """The rows of a batch, of which each process has some that follow one another.

    Attributes:
        total: The number of rows of all processes.
        peers: The processes.
    """

    total: int
    peers: Peers

    def start(self, rank: int) -> int:
        """The first row of a process."""
        return rank * self.total // self.peers.size

    @property
    def counts(self) -> list[int]:
        """The number of rows of each process."""
        return [self.start(rank + 1) - self.start(rank) for rank in range(self.peers.size)]

    @property
    def own(self) -> slice:
        """The rows of this process."""
        return slice(self.start(self.peers.rank), self.start(self.peers.rank + 1))


def split_rows(x: Tensor, rows: Rows) -> Tensor:
    """All rows, the same on each process -> the rows of this process."""
    own: Tensor = _Split.apply(x, rows)  # type: ignore[no-untyped-call]
    return own


def join_rows(y: Tensor, rows: Rows) -> Tensor:
    """The rows of this process -> all rows, the same on each process."""
    joined: Tensor = _Join.apply(y, rows)  # type: ignore[no-untyped-call]
    return joined


def sum_parts(x: Tensor) -> Tensor:
    """The sum over the processes of what each has computed from its rows."""
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return total


class _Split(torch.autograd.Function):
    """`split_rows`, whose gradients are joined."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Rows) -> Tensor:
        ctx.rows = rows
        return x[rows.own].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return join_rows(gradients[0], ctx.rows) / ctx.rows.peers.size, None


class _Join(torch.autograd.Function):
    """`join_rows`, whose gradients are split."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, rows: Rows) -> Tensor:
        ctx.rows = rows
        joined = y.new_zeros((rows.total, *y.shape[1:]))
        joined[rows.own] = y
        dist.all_reduce(joined)  # Adding zeros changes no number.
        return joined

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return split_rows(gradients[0], ctx.rows) * ctx.rows.peers.size, None


class _Sum(torch.autograd.Function):
    """`sum_parts`, whose gradients are summed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        return sum_parts(gradients[0])
