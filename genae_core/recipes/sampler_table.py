"""Samplers at equal cost, for paper_tables.py: the FCD against the calls of the networks."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from genae_core.evaluation.nearest import NearestTraining
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.chain_samplers import labelled_chains, refusals_of
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import SamplerName, StudyOptions
from genae_core.recipes.study import study_experiment
from genae_core.report.intervals import interval
from genae_core.report.tables import align_columns, closing_lines
from genae_core.tracking.mlflow_store import StoredRun

SAMPLER_MODELS = ("vae-10", "dvae-10", "vae-200", "daae-200")
PUBLISHED: SamplerName = "encode_decode"
# Chains from the prior need many steps. Those that start near the codes are best after a few.
FROM_PRIOR: tuple[SamplerName, ...] = (PUBLISHED, "clean", "annealed")
FROM_CODES: tuple[SamplerName, ...] = (
    "refined",
    "selected",
    "selected_clean",
    "resampled",
    "fitted_flow",
)
MANY_STEPS, FEW_STEPS = (0, 1, 2, 3, 5, 7, 10, 15, 20), (0, 1, 2, 3)
SAMPLER_CURVES = ("fcd", "fcd_val", "precision", "recall", "nearest_training")
GOAL = 0.35  # of the published chain's best FCD


@dataclass(frozen=True, kw_only=True)
class SamplerRow:
    """A sampler at one step; the means are over the seeds.

    Args:
        model: The model, such as "VAE-10".
        sampler: The label of the chain.
        step: The step.
        seeds: The number of seeds.
        calls: The calls of the decoder and the encoder for a sample.
        fcd: The mean FCD on test.
        low: The lower end of its 95 % interval; None with one seed.
        high: The upper end of the interval; None with one seed.
        fcd_val: The mean FCD on validation.
        precision: The mean precision.
        recall: The mean recall.
        nearest: The mean distance to the nearest training image, relative to that of real images.
        ratio: The FCD divided by that of the published chain at its best step.
        front: Whether no other sampler of the model has a lower FCD with no more calls.
    """

    model: str
    sampler: str
    step: int
    seeds: int
    calls: float
    fcd: float
    low: float | None
    high: float | None
    fcd_val: float
    precision: float
    recall: float
    nearest: float
    ratio: float
    front: bool = False


def sampler_experiment(study: StudyOptions, model: str) -> Experiment:
    """The experiment of a model with all samplers that apply to it.

    Args:
        study: The study's flags.
        model: One of SAMPLER_MODELS.
    """
    family, dim = model.split("-")
    recipe = dataset_recipe(study)
    labelled = [
        *labelled_chains(recipe, FROM_PRIOR, MANY_STEPS),
        *labelled_chains(recipe, FROM_CODES, FEW_STEPS),
    ]
    labelled = [one for one in labelled if one.chain.batch_norm == "batch"]
    experiment = study_experiment(study, family, int(dim), (labelled[0].chain,))
    refused = {one.label for one in refusals_of(experiment.model, labelled, recipe.data.shape)}
    chains = tuple(one.chain for one in labelled if one.label not in refused)
    metric = NearestTraining(data=recipe.data, shards=study.shards)
    return replace(experiment, chains=chains, metrics=(metric,))


def sampler_rows(runs: Sequence[StoredRun]) -> list[SamplerRow]:
    """The rows of every sampler and step, by model.

    Args:
        runs: The runs of the sweep, with SAMPLER_CURVES; those without a result are left out.
    """
    rows = []
    for model, chains in _by_model(runs).items():
        published = statistics.mean(run.scalars["fcd_best"] for run in _published(chains))
        own = [
            _row(model, label, step, members, published)
            for label, members in chains.items()
            for step in sorted(set.intersection(*(set(run.chain["fcd"]) for run in members)))
        ]
        rows += [replace(row, front=_is_on_front(row, own)) for row in own]
    return rows


def _by_model(runs: Sequence[StoredRun]) -> dict[str, dict[str, list[StoredRun]]]:
    """The finished runs by model and chain, in the order of the seeds, the published chain first.

    A model whose published chain has no result is left out.
    """
    groups: dict[str, dict[str, list[StoredRun]]] = {model: {} for model in SAMPLER_MODELS}
    for run in sorted(runs, key=lambda run: (run.tags["seed"], run.tags["chain"])):
        if run.status == "FINISHED":
            model = json.loads(run.tags["cell"])["model"]
            groups[model].setdefault(run.tags["chain"], []).append(run)
    return {model.upper(): chains for model, chains in groups.items() if _published(chains)}


def _published(chains: Mapping[str, list[StoredRun]]) -> list[StoredRun]:
    """The runs of the published chain."""
    return chains.get("encode decode, batch BN", [])


def _row(
    model: str, label: str, step: int, runs: Sequence[StoredRun], published: float
) -> SamplerRow:
    """The row of a sampler at a step."""
    fcd, low, high = interval([run.chain["fcd"][step] for run in runs])
    means = {name: statistics.mean(run.chain[name][step] for run in runs) for name in SAMPLER_CURVES}
    calls = statistics.mean(_calls(run, step) for run in runs)
    return SamplerRow(
        model=model,
        sampler=label,
        step=step,
        seeds=len(runs),
        calls=calls,
        fcd=fcd,
        low=low,
        high=high,
        fcd_val=means["fcd_val"],
        precision=means["precision"],
        recall=means["recall"],
        nearest=means["nearest_training"],
        ratio=fcd / published,
    )


def _calls(run: StoredRun, step: int) -> float:
    return run.scalars["calls_start"] + step * run.scalars["calls_step"]


def _is_on_front(row: SamplerRow, rows: Sequence[SamplerRow]) -> bool:
    """Whether no row has a lower FCD with no more calls."""
    return not any(other.calls <= row.calls and other.fcd < row.fcd for other in rows)


def print_sampler_table(rows: Sequence[SamplerRow], runs: Sequence[StoredRun]) -> None:
    """Print the best step of each sampler and the rows on the front, and whether the goal is met.

    Args:
        rows: The rows of `sampler_rows`.
        runs: The runs of the sweep.
    """
    head = ["model", "sampler", "step", "calls", "FCD", "95 % interval", "/ published"]
    table = [[*head, "precision", "recall", "nearest", "front"]]
    for row in rows:
        own = [other for other in rows if _chain(other) == _chain(row)]
        if row.front or row == min(own, key=lambda other: other.fcd_val):
            table.append(
                [
                    row.model,
                    row.sampler.removesuffix(", batch BN"),
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
            )
    print(f"\n{align_columns(table)}")
    print("calls: of the decoder and the encoder for a sample; *: no lower FCD with as few calls")
    print("nearest: distance to the nearest training image, 1 for real images, 0 for a copy\n")
    for model, chains in _by_model(runs).items():
        print(_describe(model, chains))
    for line in closing_lines(run for run in runs if run.status == "FINISHED"):
        print(line)


def _chain(row: SamplerRow) -> tuple[str, str]:
    return row.model, row.sampler


def _describe(model: str, chains: Mapping[str, list[StoredRun]]) -> str:
    """The best sampler with no more calls than the published chain at its best step.

    Both steps are chosen on validation, that of the published chain for each seed.
    """
    published = _published(chains)
    best = [int(run.scalars["fcd_best_step"]) for run in published]
    most = statistics.mean(_calls(run, step) for run, step in zip(published, best, strict=True))
    candidates = {
        (label, step): statistics.mean(run.chain["fcd_val"][step] for run in runs)
        for label, runs in chains.items()
        for step in runs[0].chain["fcd"]
        if runs is not published and len(runs) == len(published) and _calls(runs[0], step) <= most
    }
    start = f"{model}: the published chain has {_mean_fcd(published, best):.1f} after {most:g} calls"
    if not candidates:
        return f"{start}, and no other sampler needs so few."
    label, step = min(candidates, key=lambda key: candidates[key])
    runs = chains[label]
    fcd = _mean_fcd(runs, [step] * len(runs))
    ratio = fcd / _mean_fcd(published, best)
    changes = {
        name: interval(
            [
                run.chain[name][step] - other.chain[name][at]
                for run, other, at in zip(runs, published, best, strict=True)
            ]
        )
        for name in ("precision", "recall")
    }
    worse = [name for name, (mean, _, high) in changes.items() if (mean if high is None else high) < 0]
    words = "; ".join(f"{name} {_signed(*change)}" for name, change in changes.items())
    verdict = "met" if ratio <= GOAL and not worse else "not met"
    return (
        f"{start}; {label.removesuffix(', batch BN')} after {step} steps and "
        f"{_calls(runs[0], step):g} calls {fcd:.1f}, {ratio:.2f} of it; {words}. The goal of "
        f"{GOAL:g} with neither worse is {verdict}."
    )


def _mean_fcd(runs: Sequence[StoredRun], steps: Sequence[int]) -> float:
    return statistics.mean(run.chain["fcd"][k] for run, k in zip(runs, steps, strict=True))


def _signed(mean: float, low: float | None, high: float | None) -> str:
    """A change with its interval over the seeds."""
    return f"{mean:+.3f}" if low is None else f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
