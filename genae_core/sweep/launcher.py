"""launch(): a study's grid of cells as Ray Tune trials."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import optuna
from ray.tune.search.optuna import OptunaSearch

from genae_core.config import require
from genae_core.experiment.experiment import Experiment
from genae_core.sweep.cells import Params, cell_key
from genae_core.sweep.driver import OnEnd, run_sweep
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import Plan

Axes = Mapping[str, Sequence[str | int | float | bool]]


def launch(
    study: str,
    axes: Axes,
    experiment: Callable[[Params], Experiment | None],
    options: LaunchOptions,
    on_end: OnEnd = lambda *_: None,
) -> int:
    """Run every cell of the axes' product.

    Args:
        study: Names the MLflow experiment.
        axes: The values of each coordinate.
        experiment: Makes a cell's experiment, or None if its coordinates mean nothing together.
        options: Where and how wide the sweep runs.
        on_end: Is called with the store, the sweep's name and its folder, after everything has run
            and is in the store.

    Returns:
        The exit code of the process. 0: every trial finished. 1: some trials failed, and the table
        shows the others. 2: something that the user gave was wrong, which one message says before
        any training. 130: the sweep was interrupted, or cut by --max-hours, and can be resumed.
    """

    def plan() -> Plan:
        product = list(itertools.product(*axes.values()))
        require(len(product) > 0, "every axis needs a value", axes=dict(axes))
        twice = len(set(product)) < len(product)
        require(not twice, "an axis names a value twice", axes=dict(axes))
        combinations = [dict(zip(axes, values, strict=True)) for values in product]
        made = [(params, cell) for params in combinations if (cell := experiment(params))]
        require(len(made) > 0, "no cell of these axes means anything", axes=dict(axes))
        most = options.max_trials or len(made)
        require(len(made) <= most, "the study has more trials than --max-trials", trials=len(made))
        grid = [params for params, _ in made]
        cells = {cell_key(params): cell for params, cell in made}
        return Plan(grid, cells, grid_searcher(axes, grid), len(grid))

    return run_sweep(study, plan, options, on_end)


def grid_searcher(axes: Axes, grid: list[Params]) -> OptunaSearch:
    """Visits each cell once. A study compares cells, and TPE would favour the good ones."""
    values = {name: sorted({params[name] for params in grid}, key=str) for name in axes}
    return OptunaSearch(
        partial(_suggest, values),
        metric="fcd_val",
        mode="min",
        points_to_evaluate=grid,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )


def _suggest(axes: dict[str, list[Any]], trial: optuna.Trial) -> None:
    for name, values in axes.items():
        trial.suggest_categorical(name, values)
