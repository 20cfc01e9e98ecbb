"""The projected cost against hand-worked figures."""

from typing import Any

import pytest

from genae_core.sweep.cost import projected_cost
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


@pytest.mark.parametrize("known", [{"trials": None}, {"seconds": ()}])
def test_it_claims_nothing_that_was_not_measured(known: dict[str, Any]) -> None:
    assert "unknown until runs of this study have finished" in cost(**known)


@pytest.mark.parametrize(
    "name", ["max_hours", "price_per_node_hour", "memory_per_trial", "max_trials", "max_nodes"]
)
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_must_be_above_nothing(name: str, value: int) -> None:
    limits: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name}={value}"):
        LaunchOptions(**limits)
