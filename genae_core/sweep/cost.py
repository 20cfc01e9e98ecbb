"""What a sweep may cost, computed before it begins."""

from collections.abc import Sequence
from statistics import median

from genae_core.sweep.options import LaunchOptions


def projected_cost(
    trials: int | None,
    seeds: int,
    parallel: int,
    nodes: int,
    seconds: Sequence[float],
    options: LaunchOptions,
) -> str:
    """How many node-hours and how much money the trials may take, and their bound, in words.

    Args:
        trials: The number of trials; None if only time ends them.
        seeds: The seeds of each trial.
        parallel: The number of trials at a time.
        nodes: The number of nodes that the trials keep busy.
        seconds: The seconds that earlier runs of the study took on this data.
        options: The price and the bounds.
    """
    price = options.price_per_node_hour
    assert price is not None
    if not seconds or trials is None:
        about = "unknown until runs of this study have finished on this data"
    else:
        hours = trials * seeds * median(seconds) / parallel / 3600
        about = (
            f"about {hours:.3g} h x {nodes} nodes = {_amount(hours * nodes, price)}, as a run "
            f"took {median(seconds):.0f} s (median of {len(seconds)})"
        )
    if options.max_hours is None:
        return f"cost of the trials' nodes: {about}; no bound: --max-hours sets one"
    most = options.max_hours * (options.max_nodes or nodes)
    return (
        f"cost of the trials' nodes: {about}; while trials run, at most {_amount(most, price)}. "
        "The head node, and the minutes in which nodes start and are idle, come on top"
    )


def _amount(node_hours: float, price: float) -> str:
    return f"{node_hours:.3g} node-hours, {node_hours * price:.2f}"
