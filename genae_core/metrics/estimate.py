"""Estimates with standard errors, which say whether a difference is more than chance."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.config import require

BLOCK = 1_000  # rows of each side in a block
FEWEST = 5  # fewest blocks


class Estimate(NamedTuple):
    """A value and its standard error, which is NaN if there is only one block."""

    value: float
    error: float


def mean_of(values: Tensor) -> Estimate:
    """The mean of independent values [N] and its standard error, sd / sqrt(N)."""
    v = values.double()
    error = float(v.std()) / math.sqrt(len(v)) if len(v) > 1 else math.nan
    return Estimate(float(v.mean()), error)


def blocks(a: Tensor, b: Tensor, what: str, coupled: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Cut rows [N, ...] and [M, ...] into disjoint pairs of equally large blocks.

    A block has 1,000 rows, or fewer if there would be fewer than five blocks. Raises ValueError,
    which names `what`, for fewer than ten rows.

    coupled: the number of consecutive rows that depend on one another. They stay in one block if
    there are enough rows for two such blocks. Otherwise the standard error is an upper bound for
    chains that the statistics of a batch balance.
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
    """The value of all data, with its standard error from the values v_g without block g,

    sqrt((G - 1) / G sum_g (v_g - mean v)^2) (Efron & Tibshirani 1993, eq. 11.5, for blocks).
    """
    v: NDArray[np.float64] = np.asarray(without, np.float64)
    if len(v) < 2:
        return Estimate(whole, math.nan)
    spread = float(np.square(v - v.mean()).sum())
    return Estimate(whole, math.sqrt((len(v) - 1) / len(v) * spread))
