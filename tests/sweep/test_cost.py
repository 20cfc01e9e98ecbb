"""The projected cost against hand-worked figures."""

import dataclasses
from typing import Any

import pytest

from genae_core.sweep.cost import bound_hours, check_first_round, projected_cost
from genae_core.sweep.options import LaunchOptions


def cost(trials: int | None = 16, seconds: tuple[float, ...] = (600, 900, 1e6), **o: Any) -> str:
    options = LaunchOptions(price_per_node_hour=3.0, **o)
    return projected_cost(trials, 3, 8, 2, seconds, options)


def test_it_is_trials_times_the_median_run() -> None:
    # 16 x 3 runs of 900 s, 8 at a time: 1.5 h on 2 nodes at 3 an hour.
    assert (
        "about 1.5 h x 2 nodes = 3 node-hours, 9.00, as a run took 900 s (median of 3)" in cost()
    )


def test_it_says_what_bounds_it_or_that_nothing_does() -> None:
    assert "no bound: --max-hours sets one" in cost()
    assert "at most 8 node-hours, 24.00" in cost(max_hours=4)
    assert "at most 40 node-hours, 120.00" in cost(max_hours=4, max_nodes=10)


def test_money_is_hours_of_the_nodes() -> None:
    # 24 of money is 8 node-hours at 3 an hour: 4 h of 2 nodes, or 0.8 h of 10.
    paid = LaunchOptions(price_per_node_hour=3.0, max_cost=24.0)
    assert bound_hours(paid, 2).max_hours == pytest.approx(4)
    assert bound_hours(dataclasses.replace(paid, max_nodes=10), 2).max_hours == pytest.approx(0.8)
    assert bound_hours(dataclasses.replace(paid, max_hours=1), 2).max_hours == 1
    assert bound_hours(LaunchOptions(max_hours=1), 2).max_hours == 1
    with pytest.raises(ValueError, match="--max-cost needs the --price-per-node-hour"):
        LaunchOptions(max_cost=3)


def test_a_budget_that_cannot_hold_the_first_round_is_refused() -> None:
    """12 trials of 900 s, 3 at a time, take an hour."""
    check_first_round(12, 3, [900.0], LaunchOptions(until_settled=True, max_hours=1))
    check_first_round(12, 3, [], LaunchOptions(until_settled=True, max_hours=0.1))
    with pytest.raises(ValueError, match=r"cannot hold the first round, of 12 trials.*about 1 h"):
        check_first_round(12, 3, [900.0], LaunchOptions(until_settled=True, max_hours=0.9))
    paid = LaunchOptions(until_settled=True, price_per_node_hour=2.0, max_cost=1.0)
    with pytest.raises(ValueError, match=r"--max-cost or --max-hours cannot hold"):
        check_first_round(12, 3, [900.0], bound_hours(paid, 1))


def test_the_cost_of_a_sweep_that_is_settled_is_that_of_its_first_round() -> None:
    assert "the first round takes about 1.5 h x 2 nodes" in cost(until_settled=True)


@pytest.mark.parametrize("known", [{"trials": None}, {"seconds": ()}])
def test_it_claims_nothing_that_was_not_measured(known: dict[str, Any]) -> None:
    assert "unknown until runs of this study have finished" in cost(**known)


@pytest.mark.parametrize(
    "name",
    [
        *("max_hours", "price_per_node_hour", "max_cost", "memory_per_trial"),
        *("max_trials", "max_nodes"),
    ],
)
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_must_be_above_nothing(name: str, value: int) -> None:
    limits: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name}={value}"):
        LaunchOptions(**limits)
