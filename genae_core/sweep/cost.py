"""What a sweep may cost, worked out before it begins."""

from collections.abc import Sequence
from statistics import median

from genae_core.sweep.options import LaunchOptions


def projected(
    trials: int | None,
    seeds: int,
    parallel: int,
    nodes: int,
    seconds: Sequence[float],
    options: LaunchOptions,
) -> str:
    """One sentence: about how many node-hours and how much money, and what bounds them.

    trials: None where only time ends them. parallel: at a time. nodes: that they keep busy.
    seconds: that earlier runs of the study took on this data.
    """
    price = options.price_per_node_hour
    assert price is not None
    if not seconds or trials is None:
        about = "unknown until runs of this study have finished on this data"
    else:
        hours = trials * seeds * median(seconds) / parallel / 3600
        about = (
            f"about {hours:.3g} h x {nodes} nodes = {_cost(hours * nodes, price)}, as a run took "
            f"{median(seconds):.0f} s (median of {len(seconds)})"
        )
    if options.max_hours is None:
        return f"cost of the trials' nodes: {about}; no bound: --max-hours sets one"
    most = options.max_hours * (options.max_nodes or nodes)
    return (
        f"cost of the trials' nodes: {about}; while trials run, at most {_cost(most, price)}. A "
        "head, and minutes in which nodes start and are idle, come on top"
    )


def _cost(node_hours: float, price: float) -> str:
    return f"{node_hours:.3g} node-hours, {node_hours * price:.2f}"
