"""launch(): a study's grid of cells as Ray Tune trials."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import optuna

from genae_core.config import require
from genae_core.experiment.experiment import Experiment
from genae_core.report.decision import QuestionName
from genae_core.sweep.cells import Params, cell_key, values_of
from genae_core.sweep.conclusion import OnEnd
from genae_core.sweep.driver import run_sweep
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import Plan
from genae_core.sweep.settling import rounds_from

if TYPE_CHECKING:
    from genae_core.sweep.study_copy import CopiedSearch

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
        study: The name of the study, which is also the name of the MLflow experiment.
        axes: The values of each coordinate.
        experiment: Makes a cell's experiment, or returns None if its coordinates do not fit
            together.
        options: The flags that say where the sweep runs and how many trials run at a time.
        on_end: Called with the store, the sweep's name and its folder, after everything has run
            and is in the store.

    Returns:
        The exit code of the process. 0: every trial finished. 1: some trials failed, and the table
        shows the others; or the store does not have all results yet; or a step after the trials
        failed, which a message names. 2: a flag was wrong, or something was missing or failed,
        which a message says before any training. 130: the sweep was interrupted, by Ctrl-C,
        SIGTERM, SIGHUP or --max-hours, or because Ray, the machine or the driver failed; the last
        line says how to resume it.
    """

    def plan(options: LaunchOptions) -> Plan:
        product = list(itertools.product(*axes.values()))
        require(len(product) > 0, "every axis needs a value", axes=dict(axes))
        twice = len(set(product)) < len(product)
        require(not twice, "an axis must name a value only once", axes=dict(axes))
        grid: list[Params] = []
        cells: dict[str, Experiment] = {}
        for values in product:
            params = dict(zip(axes, values, strict=True))
            cell = experiment(params)
            if cell is not None:
                grid.append(params)
                cells[cell_key(params)] = cell
        require(len(grid) > 0, "no values of these axes fit together", axes=dict(axes))
        if options.until_settled:
            return _settling_plan(grid, cells, options)
        most = options.max_trials or len(grid)
        require(len(grid) <= most, "the study has more trials than --max-trials", trials=len(grid))
        return Plan(grid, cells, partial(grid_searcher, grid), len(grid))

    return run_sweep(study, plan, options, on_end)


def _settling_plan(
    grid: list[Params], cells: dict[str, Experiment], options: LaunchOptions
) -> Plan:
    """The plan of a sweep that runs until its question is settled.

    Raises ValueError if the cells cannot be asked this, or not within --max-trials.
    """
    _check_question(grid, cells, options.question)
    trained = sorted(key for key, cell in cells.items() if cell.training is None)
    require(
        not trained,
        "--until-settled trains each cell with several seeds: leave out models that are trained",
        cell=next(iter(trained), None),
    )
    seeds = rounds_from(len(options.seeds))[0]
    first = len(grid) * seeds
    most = options.max_trials
    require(
        most is None or most >= first,
        f"--max-trials cannot hold the first round, of {seeds} seeds for each of {len(grid)} "
        "cells",
        max_trials=most,
        first_round=first,
    )
    return Plan(grid, cells, partial(_settling_searcher, grid, cells, options), most)


def _check_question(
    grid: list[Params], cells: dict[str, Experiment], question: QuestionName
) -> None:
    """Raise ValueError if there is nothing to compare."""
    if question == "best-cell":
        rule = "--until-settled compares cells: name several values"
        require(len(grid) > 1, rule, trials=len(grid))
    if question == "best-step":
        for key, cell in cells.items():
            require(
                len(cell.chains[0].record) > 1,
                "--question best-step compares the recorded steps of the first chain: it needs "
                "several in each cell",
                cell=key,
                record=cell.chains[0].record,
            )
    if question == "family-order":
        families = sorted({str(params["family"]) for params in grid if "family" in params})
        rule = "--question family-order compares families: name several"
        require(len(families) > 1, rule, families=families)


def _settling_searcher(
    grid: list[Params], cells: dict[str, Experiment], options: LaunchOptions
) -> "CopiedSearch":
    """A searcher that proposes the cells in rounds, until the question is decided."""
    from genae_core.sweep.settling_search import Settings, SettlingSearch  # noqa: PLC0415

    settings = Settings(options.confidence, options.indifference, options.question, options.seeds)
    steps = {key: cell.chains[0].record for key, cell in cells.items()}
    return SettlingSearch(grid, settings, steps)


def grid_searcher(grid: list[Params]) -> "CopiedSearch":
    """A searcher that proposes each cell once, because a study compares all cells."""
    from genae_core.sweep.study_copy import (  # noqa: PLC0415  # while Ray starts
        CopiedSearch,
        suggest_cell,
    )

    return CopiedSearch(
        partial(suggest_cell, values_of(grid)),
        metric="fcd_val",
        mode="min",
        points_to_evaluate=grid,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
