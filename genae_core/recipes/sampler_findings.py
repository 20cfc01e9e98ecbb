"""The printed table of samplers at equal cost, and whether one meets the goal for each model."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genae_core.experiment.experiment import Experiment
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.sampler_table import (
    SAMPLER_CURVES,
    SAMPLER_MODELS,
    SamplerRow,
    calls_until,
    published_runs,
    runs_by_model,
    sampler_experiment,
    sampler_rows,
)
from genae_core.recipes.swept_table import SweptTable
from genae_core.report.intervals import Interval, interval
from genae_core.report.tables import align_columns, closing_lines
from genae_core.tracking.mlflow_store import StoredRun, Tracker

NORMAL_95 = 1.96  # standard errors in half of a 95 % interval
GOAL = 0.35  # of the published chain's best FCD
SUFFIX = ", batch BN"  # of the labels of all chains in the table

Chains = Mapping[str, list[StoredRun]]  # the runs of a model by the label of the chain


def sampler_table(study: StudyOptions) -> SweptTable:
    """The table of a study."""

    def experiment(params: Mapping[str, Any]) -> Experiment:
        return sampler_experiment(study, params["model"])

    def show(tracker: Tracker, sweep: str, _: Path) -> list[SamplerRow]:
        runs = tracker.read_runs(sweep, SAMPLER_CURVES)
        rows = sampler_rows(runs)
        print_sampler_table(rows, runs)
        return rows

    models = SAMPLER_MODELS[:2] if study.smoke else SAMPLER_MODELS
    return SweptTable({"model": models}, experiment, show)


def print_sampler_table(rows: Sequence[SamplerRow], runs: Sequence[StoredRun]) -> None:
    """Print the best step of each sampler and the rows on the front, and whether the goal is met.

    Args:
        rows: The rows of `sampler_rows`.
        runs: The runs of the sweep.
    """
    head = ["model", "sampler", "step", "calls", "FCD", "95 % interval", "/ published"]
    table = [[*head, "precision", "recall", "nearest", "front"]]
    table += [_cells(row) for row in rows if row.front or _is_best_step(row, rows)]
    print(f"\n{align_columns(table)}")
    print("calls: of the decoder and the encoder for a sample; *: no lower FCD with as few calls")
    print("nearest: distance to the nearest training image, 1 for real images, 0 for a copy\n")
    for model, chains in runs_by_model(runs).items():
        print(describe_model(model, chains))
    for line in closing_lines(run for run in runs if run.status == "FINISHED"):
        print(line)


def _cells(row: SamplerRow) -> list[str]:
    return [
        row.model,
        row.sampler.removesuffix(SUFFIX),
        str(row.step),
        f"{row.calls:g}",
        f"{row.fcd:.1f}",
        "-" if row.low is None else f"{row.low:.1f} to {row.high:.1f}",
        f"{row.ratio:.2f}",
        f"{row.precision:.3f}",
        f"{row.recall:.3f}",
        f"{row.nearest:.2f}",
        "*" if row.front else "",
    ]


def _is_best_step(row: SamplerRow, rows: Sequence[SamplerRow]) -> bool:
    """Whether no other step of the sampler has a lower FCD on validation."""
    same = [other for other in rows if (other.model, other.sampler) == (row.model, row.sampler)]
    return row.fcd_val == min(other.fcd_val for other in same)


def describe_model(model: str, chains: Chains) -> str:
    """A sentence about the best sampler with no more calls than the published chain's best step.

    All steps are chosen on validation, that of the published chain for each seed.

    Args:
        model: The model's name.
        chains: Its runs by the label of the chain, in the order of the seeds.
    """
    published = published_runs(chains)
    best = [int(run.scalars["fcd_best_step"]) for run in published]
    most = statistics.mean(map(calls_until, published, best))
    limit = statistics.mean(map(_fcd, published, best))
    start = f"{model}: the published chain has {limit:.1f} after {most:.3g} calls"
    candidates = _candidates(chains, most)
    if not candidates:
        return f"{start}, and no other sampler needs so few."
    label, step = min(candidates, key=lambda key: candidates[key])
    runs = chains[label]
    fcd = statistics.mean(_fcd(run, step) for run in runs)
    others = (runs, step, published, best)
    changes = {name: _change(name, *others) for name in ("precision", "recall")}
    words = "; ".join(f"{name} {_signed(*change)}" for name, change in changes.items())
    is_met = fcd <= GOAL * limit and not any(map(_is_worse, changes.values()))
    return (
        f"{start}; {label.removesuffix(SUFFIX)} after {step} steps and "
        f"{calls_until(runs[0], step):g} calls {fcd:.1f}, {fcd / limit:.2f} of it; {words}. The "
        f"goal of {GOAL:g} with neither worse is {'met' if is_met else 'not met'}."
    )


def _candidates(chains: Chains, most: float) -> dict[tuple[str, int], float]:
    """The mean validation FCD of each other chain at each step with no more than `most` calls."""
    published = published_runs(chains)
    scores = {}
    for label, runs in chains.items():
        if runs is published or len(runs) != len(published):
            continue
        for step in runs[0].chain["fcd"]:
            if calls_until(runs[0], step) <= most:
                scores[label, step] = statistics.mean(run.chain["fcd_val"][step] for run in runs)
    return scores


def _fcd(run: StoredRun, step: int) -> float:
    return run.chain["fcd"][step]


def _change(
    name: str,
    runs: Sequence[StoredRun],
    step: int,
    published: Sequence[StoredRun],
    best: Sequence[int],
) -> Interval:
    """The paired change of a metric from the published chain at its best steps.

    The interval is that over the seeds. With one seed, it is that over the samples, from the
    standard errors of both values.
    """
    triples = list(zip(runs, published, best, strict=True))
    values = [run.chain[name][step] - other.chain[name][at] for run, other, at in triples]
    change = interval(values)
    if len(triples) > 1:
        return change
    ((run, other, at),) = triples
    errors = [
        one.chain.get(f"{name}_se", {}).get(k, math.nan) for one, k in ((run, step), (other, at))
    ]
    half = NORMAL_95 * math.hypot(*errors)
    return change if math.isnan(half) else (change[0], change[0] - half, change[0] + half)


def _is_worse(change: Interval) -> bool:
    """Whether the whole interval of a change is below 0; without one, the change itself."""
    mean, _, high = change
    return (mean if high is None else high) < 0


def _signed(mean: float, low: float | None, high: float | None) -> str:
    """A change with its interval."""
    return f"{mean:+.3f}" if low is None else f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
