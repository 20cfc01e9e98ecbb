"""Which alternative is the best one, decided with as few seeds as the decision needs.

All alternatives begin with a few seeds. After each round they are compared with the leader, which
has the lowest mean. The pairs share their seeds, so that what a seed does to all of them cancels.
An alternative that is certainly worse is eliminated, and the others get more seeds. Whether the
alternatives are cells or steps of a chain depends on the question (see `settling_questions`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# scipy.stats takes half a second to import.
from scipy.special import digamma, polygamma, stdtrit

from genae_core import config

# The seeds of a cell after each round, of which the first ones may be left out. More would cost
# half as much again each time.
ROUNDS = (2, 3, 4, 6, 9, 13, 19, 28, 42, 63, 94)

# By alternative: one value for each seed, lower is better.
Scores = Mapping[str, Sequence[float]]


def rounds_from(seeds: int) -> tuple[int, ...]:
    """The seeds of a cell after each round, if a sweep names this many: three if it names one."""
    first = seeds if seeds > 1 else 3
    return first, *(count for count in ROUNDS if count > first)


class Comparison(NamedTuple):
    """An alternative beside the leader.

    Attributes:
        difference: The mean over the seeds of the alternative's value less the leader's.
        low: The lower end of its interval.
        high: The upper end.
    """

    difference: float
    low: float
    high: float


class Verdict(NamedTuple):
    """What is known after a round.

    Attributes:
        leader: The alternative with the lowest mean.
        rivals: The others that are not certainly worse than the leader. They get more seeds.
        comparisons: All alternatives but the leader, each beside it.
        seeds: The number of seeds of each.
        settled: Whether no rival can be better than the leader by more than the indifference.
    """

    leader: str
    rivals: tuple[str, ...]
    comparisons: dict[str, Comparison]
    seeds: int
    settled: bool


def judge(
    scores: Scores,
    confidence: float,
    indifference: float = 0.0,
    *,
    ways: int | None = None,
    moderated: bool = True,
) -> Verdict:
    """Compare the alternatives that are left with their leader, after one of the rounds.

    Whoever eliminates all but the leader and its rivals after each round keeps the best one
    through all rounds with at least this confidence, if the differences are normally distributed.
    For alternative i of m with n seeds, d_i the mean of its differences to the leader, and s_i
    their standard deviation, the interval is

        d_i ± t(1 - a; f_i) s_i / sqrt(n),  a = (1 - confidence) / ((m - 1) * number of rounds),

    where s_i and its degrees of freedom f_i are those of `moderate`. The number of rounds and of
    comparisons that can be wrong divide the error that is allowed (Bonferroni).

    Args:
        scores: The alternatives that have not been eliminated. All have the same seeds, in one
            order.
        confidence: The probability with which the decision must be right, in (0.5, 1).
        indifference: A difference that does not matter, in the unit of the values.
        ways: The number of comparisons that can make the whole decision wrong in a round, if it
            is more than this one's m - 1.
        moderated: Whether the variances are drawn towards each other. They must not be if the
            differences vary together, because each would then count the same evidence again.

    Raises:
        ValueError: There are no alternatives or fewer than two seeds, they have different numbers
            of seeds, or the confidence or the indifference is out of range.
    """
    _check(scores, confidence, indifference)
    names = list(scores)
    values = np.array([scores[name] for name in names], dtype=float)  # alternatives x seeds
    seeds = values.shape[1]
    leader = int(values.mean(1).argmin())
    others = [number for number in range(len(names)) if number != leader]
    if not others:
        return Verdict(names[leader], (), {}, seeds, settled=True)
    differences = values[others] - values[leader]
    variances, degrees = differences.var(1, ddof=1), float(seeds - 1)
    if moderated:
        variances, degrees = moderate(variances, seeds - 1)
    level = (1 - confidence) / ((ways or len(others)) * len(ROUNDS))
    half = -stdtrit(degrees, level) * np.sqrt(variances / seeds)
    comparisons = {
        names[number]: Comparison(float(mean), float(mean - width), float(mean + width))
        for number, mean, width in zip(others, differences.mean(1), half, strict=True)
    }
    rivals = tuple(name for name, one in comparisons.items() if one.low <= 0)
    settled = all(comparisons[name].low > -indifference for name in rivals)
    return Verdict(names[leader], rivals, comparisons, seeds, settled)


def moderate(variances: NDArray[np.float64], degrees: int) -> tuple[NDArray[np.float64], float]:
    """Draw variances from few values towards what they have in common.

    With d degrees of freedom each, a prior variance s0^2 with d0 degrees is fitted to them, and

        s_i^2 = (d0 s0^2 + d v_i) / (d0 + d)  with d0 + d degrees of freedom

    (Smyth, Linear models and empirical Bayes methods for assessing differential expression, 2004,
    sections 3 and 6.2). Differences that do not vary at all leave no variance to fit, and keep
    theirs.

    Args:
        variances: [m] The variances v_i.
        degrees: The degrees of freedom d of each.

    Returns:
        The moderated variances, [m], and their degrees of freedom, at most those of all together.
    """
    if len(variances) < 2 or not (variances > 0).all():
        return variances, float(degrees)
    logs = np.log(variances) - digamma(degrees / 2) + math.log(degrees / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, degrees / 2))
    most = float(degrees * len(variances))
    if excess <= 0:  # they differ by no more than chance
        return np.full_like(variances, math.exp(logs.mean())), most
    half = _inverse_trigamma(excess)
    prior = math.exp(logs.mean() + digamma(half) - math.log(half))
    total = 2 * half + degrees
    return (2 * half * prior + degrees * variances) / total, min(total, most)


def _inverse_trigamma(value: float) -> float:
    """Return x > 0 with trigamma(x) = value, by Newton's method (Smyth 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(100):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-9 * x:
            break
    return x


def _check(scores: Scores, confidence: float, indifference: float) -> None:
    """Raise ValueError for what cannot be judged."""
    config.require(0.5 < confidence < 1, "--confidence must be in (0.5, 1)", confidence=confidence)
    config.require_amount(indifference=indifference)
    counts = {len(values) for values in scores.values()}
    config.require(
        len(counts) == 1 and counts.pop() >= 2,
        "alternatives are compared over two or more seeds that all of them have",
        seeds={name: len(values) for name, values in scores.items()},
    )
