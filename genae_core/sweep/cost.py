"""What a sweep may take and cost, computed before it begins."""

import dataclasses
import math
from collections.abc import Sequence
from statistics import median

from genae_core import config
from genae_core.sweep.options import LaunchOptions


def bound_hours(options: LaunchOptions, nodes: int) -> LaunchOptions:
    """The options whose --max-hours also keep --max-cost.

    nodes: The number of nodes that the trials keep busy.
    """
    if options.max_cost is None or options.price_per_node_hour is None:
        return options
    hours = options.max_cost / (options.price_per_node_hour * (options.max_nodes or nodes))
    return dataclasses.replace(options, max_hours=min(hours, options.max_hours or math.inf))


def check_first_round(
    trials: int, parallel: int, seconds: Sequence[float], options: LaunchOptions
) -> None:
    """Raise ValueError if the hours of a sweep that is to be settled cannot hold its first round.

    Args:
        trials: The trials of the first round.
        parallel: The number of trials at a time.
        seconds: The seconds that earlier runs of the study took on this data; if there are none,
            nothing is known.
        options: The flags, whose hours `bound_hours` has bounded.
    """
    if not seconds or options.max_hours is None:
        return
    hours = trials * median(seconds) / parallel / 3600
    rule = "--max-hours" if options.max_cost is None else "--max-cost or --max-hours"
    config.require(
        hours <= options.max_hours,
        f"{rule} cannot hold the first round, of {trials} trials: it takes about {hours:.3g} h, "
        f"as a run took {median(seconds):.0f} s (median of {len(seconds)})",
        hours=options.max_hours,
    )


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
        trials: The number of trials, or those of the first round of a sweep that is to be settled;
            None if only time ends them.
        seeds: The seeds of each trial.
        parallel: The number of trials at a time.
        nodes: The number of nodes that the trials keep busy.
        seconds: The seconds that earlier runs of the study took on this data.
        options: The price and the bounds.
    """
    price = options.price_per_node_hour
    assert price is not None
    part = "the first round takes " if options.until_settled else ""
    if not seconds or trials is None:
        about = "unknown until runs of this study have finished on this data"
    else:
        hours = trials * seeds * median(seconds) / parallel / 3600
        about = (
            f"{part}about {hours:.3g} h x {nodes} nodes = {_amount(hours * nodes, price)}, as a "
            f"run took {median(seconds):.0f} s (median of {len(seconds)})"
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
