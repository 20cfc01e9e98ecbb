"""What tables of Gaussians in one dimension share: samples, a critic, and the printing of rows.

Shapes: B batch.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LinearLR

from genae_core.distributions.rng import Draw
from genae_core.divergences.base import Divergence, Score
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.mlp import CriticConfig

CRITIC = CriticConfig(widths=(64, 64), dropout=0.0)


class TableRow(Protocol):
    """A row of a table."""

    def line(self) -> str:
        """The row as it is printed."""


R = TypeVar("R", bound=TableRow)


def print_as_known(title: str, head: str, rows: Iterable[R]) -> list[R]:
    """Print each row as soon as it is known, and return all.

    Args:
        title: What the table shows.
        head: The names of its columns.
        rows: The rows; the next one is computed when it is asked for.
    """
    print(f"\n{title}:\n{head}", flush=True)
    printed = []
    for row in rows:
        print(row.line(), flush=True)
        printed.append(row)
    return printed


def new_critic(
    divergence: Divergence, steps: int, draw: Draw
) -> tuple[Callable[[Tensor, Tensor], None], Score]:
    """A function that makes one of `steps` steps of a new critic on target [B, 1] and samples
    [B], and its score."""
    with draw.as_global():
        critic = CRITIC.build(1)
    optimizer = AdamConfig(learning_rate=2e-3, beta1=0.5).build(list(critic.parameters()))
    schedule = LinearLR(optimizer, 1.0, 0.0, steps)

    def score(x: Tensor) -> Tensor:
        values: Tensor = critic(x, draw)
        return values

    def step(target: Tensor, samples: Tensor) -> None:
        loss = divergence.critic_loss(score, target, samples[:, None], draw)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        divergence.project(critic)

    return step, score


def stratified_normal(count: int, draw: Draw) -> Tensor:
    """Samples of N(0, 1), one from each of `count` equal parts of its mass, [count]."""
    parts = (torch.arange(count) + draw.uniform((count,))) / count
    # In float32 the last part may round to 1, whose quantile is infinite.
    values: Tensor = torch.special.ndtri(parts.clamp(1e-7, 1 - 1e-7))
    return values
