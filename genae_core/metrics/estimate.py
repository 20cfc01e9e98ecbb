"""A value and its standard error, so that a difference can be called one."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.config import require

BLOCK = 1_000  # rows of each side that are compared at a time
FEWEST = 5  # blocks


class Estimate(NamedTuple):
    """error: the standard error of the value; NaN where one block says nothing of it."""

    value: float
    error: float


def mean_of(values: Tensor) -> Estimate:
    """The mean of independent values [N], and its standard error, sd / sqrt(N)."""
    v = values.double()
    error = float(v.std()) / math.sqrt(len(v)) if len(v) > 1 else math.nan
    return Estimate(float(v.mean()), error)


def blocks(a: Tensor, b: Tensor, what: str, coupled: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Disjoint pairs of equal blocks of rows [N, ...] and [M, ...], of 1,000 where there are
    enough, and five at least, so that `what` has an error. Raises ValueError below ten rows.

    coupled: so many rows each of which depend on one another stay together, where there are two
    such blocks; else the error is an upper bound for chains that a batch's statistics balance.
    """
    count = min(len(a), len(b))
    require(
        count >= 2 * FEWEST, f"{what} needs at least {2 * FEWEST} rows of each side", rows=count
    )
    size = count // max(FEWEST, count // BLOCK)
    if count >= 2 * coupled:
        size = max(coupled, size // coupled * coupled)
    whole = size * (count // size)
    return list(zip(torch.split(a[:whole], size), torch.split(b[:whole], size), strict=True))


def jackknife(whole: float, without: Sequence[float]) -> Estimate:
    """The value of all data, and the standard error from those without one of G blocks each,

    sqrt((G - 1) / G sum_g (v_g - mean v)^2) (Efron & Tibshirani 1993, eq. 11.5, for blocks).
    """
    v: NDArray[np.float64] = np.asarray(without, np.float64)
    if len(v) < 2:
        return Estimate(whole, math.nan)
    spread = float(np.square(v - v.mean()).sum())
    return Estimate(whole, math.sqrt((len(v) - 1) / len(v) * spread))
