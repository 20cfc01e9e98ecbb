"""Estimates with standard errors, which show whether a difference is more than chance."""

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
    """The mean of independent values [N] and its standard error s / sqrt(N).

    s is the standard deviation of the values.
    """
    v = values.double()
    error = float(v.std()) / math.sqrt(len(v)) if len(v) > 1 else math.nan
    return Estimate(float(v.mean()), error)


def blocks(a: Tensor, b: Tensor, what: str, coupled: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Cut rows [N, ...] and [M, ...] into disjoint pairs of equally large blocks.

    A block has 1,000 rows, or fewer if there would be fewer than five blocks.

    Args:
        a: The rows of one side, [N, ...].
        b: The rows of the other side, [M, ...].
        what: What is measured, for the error message.
        coupled: The number of consecutive rows that depend on one another. They stay in one block
            if there are enough rows for two such blocks. Otherwise the standard error is an upper
            bound for chains that the statistics of a batch balance.

    Raises:
        ValueError: A side has fewer than ten rows.
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
    """The value of all data, with its jackknife standard error over G blocks of data.

    The error is sqrt((G - 1) / G sum_g (v_g - mean v)^2), and v_g is the value without block g
    (Efron & Tibshirani 1993, eq. 11.5, for blocks).
    """
    v: NDArray[np.float64] = np.asarray(without, np.float64)
    if len(v) < 2:
        return Estimate(whole, math.nan)
    spread = float(np.square(v - v.mean()).sum())
    return Estimate(whole, math.sqrt((len(v) - 1) / len(v) * spread))
