"""How well chains mix: between chains, along a chain, and between classes.

Shapes: T steps, B chains, D latent dimension, K classes, S superchains of M chains.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.stats
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.config import require

FEWEST = 4  # steps of each chain, so that each half of a split chain has two


class Mixing(NamedTuple):
    """How well chains mix in each latent dimension; every array is [D].

    Attributes:
        rhat: The rank-normalised split R-hat; 1 if the chains agree.
        ess: The bulk effective sample size of all T B draws.
        autocorrelation_time: T B / ess, in steps.
    """

    rhat: NDArray[np.float64]
    ess: NDArray[np.float64]
    autocorrelation_time: NDArray[np.float64]


def measure_mixing(z: Tensor) -> Mixing:
    """Measure the mixing of chains by Vehtari et al. 2021, sections 3 and 4, with arviz-stats.

    Args:
        z: The latent codes of all chains at all steps, [T, B, D].

    Returns:
        R-hat, effective sample size and autocorrelation time. They are NaN for a dimension in
        which all draws are equal. If each chain stays where it began, R-hat is infinite, and the
        other two are NaN.

    Raises:
        ValueError: There are fewer than 4 steps or 2 chains.
    """
    steps, chains = z.shape[:2]
    require(steps >= FEWEST, f"R-hat needs at least {FEWEST} steps of each chain", steps=steps)
    require(chains >= 2, "R-hat needs at least 2 chains", chains=chains)
    values = z.double().cpu().numpy()
    differs, moves = np.ptp(values, (0, 1)) > 0, (np.ptp(values, 0) > 0).any(0)
    # It takes most of a second to import, and is needed after a training.
    from arviz_stats.base.array import array_stats  # noqa: PLC0415

    library: Any = array_stats  # it has no types
    rhat, ess = (np.full(z.shape[2], np.nan) for _ in range(2))
    rhat[differs & ~moves] = np.inf
    if moves.any():
        moving = values[:, :, moves]
        rhat[moves] = library.rhat(moving, chain_axis=1, draw_axis=0)
        ess[moves] = library.ess(moving, chain_axis=1, draw_axis=0)
    return Mixing(rhat, ess, steps * chains / ess)


def nested_rhat(z: Tensor) -> NDArray[np.float64]:
    """The nested R-hat of each latent dimension at one step, with arviz-stats.

    sqrt(1 + B / W), where B is the variance of the means of the superchains, and W is the mean
    variance within a superchain (Margossian et al. 2024, eq. 4 to 8, for one draw of each chain).
    The values are rank-normalised as for R-hat (Vehtari et al. 2021, eq. 14). It is 1 if the start
    is forgotten and M is large: independent chains have sqrt(1 + 1 / M).

    Args:
        z: The latent codes of the chains, [S, M, D]; the M chains of a superchain have started
            from one point.

    Returns:
        R-hat [D]; infinite where the chains of each superchain agree and superchains do not, and
        NaN where all are equal.

    Raises:
        ValueError: There are fewer than 2 superchains or 2 chains in each.
    """
    superchains, chains, _ = z.shape
    require(superchains >= 2, "nested R-hat needs at least 2 superchains", superchains=superchains)
    require(chains >= 2, "nested R-hat needs at least 2 chains of one start", chains=chains)
    values = z.flatten(0, 1).double().cpu().numpy()
    ranks = scipy.stats.rankdata(values, axis=0)
    normal = scipy.stats.norm.ppf((ranks - 3 / 8) / (len(values) + 1 / 4))
    from arviz_stats.base.array import array_stats  # noqa: PLC0415  as in measure_mixing

    library: Any = array_stats
    # The library asks for four draws of each chain. Equal ones add no variance within a chain.
    draws = np.repeat(normal[..., None], FEWEST, axis=-1)
    ids = np.repeat(np.arange(superchains), chains)
    with np.errstate(divide="ignore", invalid="ignore"):
        rhat: NDArray[np.float64] = library.rhat_nested(
            draws, ids, method="identity", chain_axis=0, draw_axis=2
        )
    return rhat


class Transitions(NamedTuple):
    """The moves of chains between classes.

    Attributes:
        matrix: [K, K], the fraction of the moves from class i that go to class j; a row is zero if
            no chain was in the class.
        stay: The fraction of all moves that keep the class.
        entropy: The entropy of the classes at the last step, in nats; log K if all are equally
            frequent, 0 if all chains are in one class.
    """

    matrix: NDArray[np.float64]
    stay: float
    entropy: float


def measure_transitions(classes: NDArray[np.int64], num_classes: int) -> Transitions:
    """Count the moves between the classes [T, B] of the chains at each step.

    Raises ValueError for fewer than two steps, and for a class outside 0, ..., K - 1.
    """
    require(len(classes) >= 2, "transitions need at least 2 steps", steps=len(classes))
    known = (classes >= 0) & (classes < num_classes)
    require(
        bool(known.all()),
        f"classes must be 0 ... {num_classes - 1}",
        unknown=int(classes[~known][0]) if not known.all() else None,
    )
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (classes[:-1].ravel(), classes[1:].ravel()), 1)
    total = counts.sum(1, keepdims=True)
    matrix = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    fractions = np.bincount(classes[-1], minlength=num_classes) / classes.shape[1]
    positive = fractions[fractions > 0]
    return Transitions(
        matrix=matrix,
        stay=float(counts.trace() / counts.sum()),
        entropy=float(-(positive * np.log(positive)).sum() + 0.0),
    )


def posterior_sd(z: Tensor) -> Tensor:
    """The empirical standard deviation [D] of z ~ q(z|x) from samples [S, B, D].

    It is the root of the mean variance over images, and 0 for a deterministic encoder. Raises
    ValueError for fewer than two samples of each image.
    """
    message = "a standard deviation needs at least 2 samples of each image"
    require(len(z) >= 2, message, samples=len(z))
    return z.double().var(0).mean(0).sqrt()


def likeliest_classes(logits: Tensor) -> NDArray[np.int64]:
    """The class with the largest logit, [...], for logits [..., K]."""
    classes: NDArray[np.int64] = torch.argmax(logits, -1).cpu().numpy()
    return classes
