"""A cell: one combination of a grid's values, or one proposal of a search."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from genae_core import config
from genae_core.data.base import Splits
from genae_core.experiment.experiment import Experiment, resolve
from genae_core.nets.base import ComputeConfig
from genae_core.report.formatting import coordinate_words

Params = dict[str, Any]
# A search passes the experiment to its trials as JSON, under this key of the params.
EXPERIMENT = "experiment"
# A sweep that runs until it is settled passes the only seed of a trial under this key.
ONE_SEED = "one_seed"


def coordinates(params: Params) -> Params:
    """The params without what a search adds to them."""
    added = (EXPERIMENT, ONE_SEED)
    return {name: value for name, value in params.items() if name not in added}


def cell_key(params: Params) -> str:
    """The cell's coordinates as one canonical string."""
    return json.dumps(coordinates(params), sort_keys=True)


def cell_label(params: Params) -> str:
    """The trial's coordinates for people: the family first, the others by name, its only seed."""
    words = coordinate_words(coordinates(params))
    return f"{words} seed={params[ONE_SEED]}" if ONE_SEED in params else words


def values_of(grid: Sequence[Params]) -> dict[str, list[Any]]:
    """The values that each coordinate has in a grid."""
    return {name: sorted({params[name] for params in grid}, key=str) for name in grid[0]}


def seeds_of(cell: Experiment, seeds: tuple[int, ...]) -> tuple[int, ...]:
    """The seeds that a cell is run with.

    A model that is already trained is run once, with seed 0: its runs with several seeds would be
    equal, and would look as if the seeds agreed.
    """
    return (0,) if cell.training is None else seeds


def cell_experiment(
    params: Params, cells: dict[str, Experiment], splits: Splits, compute: ComputeConfig
) -> Experiment:
    """The cell's complete experiment.

    Args:
        params: The cell, with its experiment if a search proposed it.
        cells: The resolved experiments of a grid, by cell_key; for a search, only the first one.
        splits: The images, for which the experiment of a search is resolved here.
        compute: How the networks compute, if the experiment leaves it open.
    """
    if EXPERIMENT in params:
        proposed: Experiment = config.from_json(params[EXPERIMENT])
        # A resumed search keeps the data root of its start, because run keys depend on it.
        data = next(iter(cells.values())).data
        experiment = resolve(dataclasses.replace(proposed, data=data), splits)
    else:
        experiment = cells[cell_key(params)]
    if experiment.training is None:  # it computes as its own code says
        compute = ComputeConfig()
    return dataclasses.replace(experiment, compute=experiment.compute or compute)
