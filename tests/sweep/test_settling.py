"""Which cell is the best: the intervals, the elimination, and how often the decision is right."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.special import polygamma

from genae_core.sweep.settling import ROUNDS, Scores, _inverse_trigamma, judge, moderate

JOBS = Path(__file__).resolve().parents[2] / "jobs"


def test_two_cells_are_compared_by_the_paired_t_test() -> None:
    """One difference has nothing to be moderated by."""
    first, second = [3.0, 5.0, 4.0, 9.0], [1.0, 2.5, 3.5, 5.0]
    verdict = judge({"first": first, "second": second}, confidence=0.9)
    level = 1 - 2 * 0.1 / len(ROUNDS)  # two-sided
    expected = stats.ttest_rel(first, second).confidence_interval(level)
    assert verdict.leader == "second" and verdict.seeds == 4
    assert verdict.comparisons["first"].difference == pytest.approx(2.25)
    assert verdict.comparisons["first"][1:] == pytest.approx((expected.low, expected.high))


def test_what_a_seed_does_to_all_cells_cancels() -> None:
    draw = np.random.default_rng(0)
    seeds, noise = 100 * draw.normal(size=6), draw.normal(size=(3, 6))
    alone = {str(n): list(n + noise[n]) for n in range(3)}
    shifted = {str(n): list(n + noise[n] + seeds) for n in range(3)}
    before, after = judge(alone, 0.95), judge(shifted, 0.95)
    assert before.leader == after.leader
    for name, one in before.comparisons.items():
        assert after.comparisons[name] == pytest.approx(one)


def test_certainly_worse_cells_are_no_rivals_and_a_tie_is_settled_by_indifference() -> None:
    draw = np.random.default_rng(1)
    scores = {
        name: list(mean + draw.normal(0, 0.1, 6))
        for name, mean in (("a", 1), ("b", 1.01), ("c", 9))
    }
    exact, loose = judge(scores, 0.95), judge(scores, 0.95, indifference=0.5)
    assert set(exact.rivals) | {exact.leader} == {"a", "b"} and not exact.settled
    assert loose.rivals == exact.rivals and loose.settled


def test_one_cell_is_settled() -> None:
    assert judge({"only": [1.0, 2.0]}, 0.95) == ("only", (), {}, 2, True)


def test_variances_are_moderated_to_the_prior_that_made_them() -> None:
    """The prior of many variances is recovered: s0^2 = 2 with 6 degrees of freedom."""
    draw = np.random.default_rng(2)
    true = 2 * 6 / draw.chisquare(6, 20_000)
    variances = true * draw.chisquare(3, true.size) / 3
    moderated, degrees = moderate(variances, 3)
    assert degrees == pytest.approx(3 + 6, rel=0.05)
    assert moderated == pytest.approx((6 * 2 + 3 * variances) / 9, rel=0.05)
    assert np.mean((moderated - true) ** 2) < 0.5 * np.mean((variances - true) ** 2)


def test_variances_that_differ_by_chance_become_one() -> None:
    moderated, degrees = moderate(np.array([1.0, 1.1, 0.9, 1.0]), 4)
    assert degrees == 16 and len(set(moderated)) == 1


def test_differences_that_do_not_vary_keep_their_variance() -> None:
    moderated, degrees = moderate(np.array([0.0, 4.0]), 2)
    assert list(moderated) == [0, 4] and degrees == 2


@pytest.mark.parametrize("value", [1e-6, 0.01, 0.5, 3.0, 1e4])
def test_the_trigamma_function_is_inverted(value: float) -> None:
    assert float(polygamma(1, _inverse_trigamma(value))) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("scores", "confidence", "indifference", "message"),
    [
        ({"a": [1.0, 2.0]}, 0.5, 0.0, "--confidence must be in"),
        ({"a": [1.0, 2.0]}, 1.0, 0.0, "--confidence must be in"),
        ({"a": [1.0, 2.0]}, 0.95, -0.1, "indifference"),
        ({"a": [1.0]}, 0.95, 0.0, "two or more seeds"),
        ({"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]}, 0.95, 0.0, "two or more seeds"),
        ({}, 0.95, 0.0, "two or more seeds"),
    ],
)
def test_what_cannot_be_judged(
    scores: Scores, confidence: float, indifference: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        judge(scores, confidence, indifference)


@pytest.mark.slow
def test_a_grid_of_as_many_trials_is_wrong_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 sweeps of 16 cells, whose best one leads by half of a seed's standard deviation."""
    monkeypatch.syspath_prepend(str(JOBS))
    settle = importlib.import_module("benchmarks.settle").settle
    settled, grid = 0, 0
    for sweep in range(100):
        draw = np.random.default_rng(sweep)
        means = np.append(0.0, 0.5 + draw.exponential(2, 15))
        values = means[:, None] + draw.normal(0, 3, 94) + draw.normal(size=(16, 94))
        cell, trials = settle(values, 0.9)
        settled += cell != 0
        grid += int(values[:, : round(trials / 16)].mean(1).argmin()) != 0
    assert settled <= 10  # the confidence is 0.9
    assert grid > 2 * settled
