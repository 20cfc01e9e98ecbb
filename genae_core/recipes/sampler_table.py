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
MEANS = ("fcd_val", "precision", "recall", "nearest_training")
SAMPLER_CURVES = ("fcd", *MEANS, "precision_se", "recall_se")


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
    for model, chains in runs_by_model(runs).items():
        published = statistics.mean(run.scalars["fcd_best"] for run in published_runs(chains))
        own = [
            _row(model, label, step, members, published)
            for label, members in chains.items()
            for step in sorted(set.intersection(*(set(run.chain["fcd"]) for run in members)))
        ]
        rows += [replace(row, front=_is_on_front(row, own)) for row in own]
    return rows


def runs_by_model(runs: Sequence[StoredRun]) -> dict[str, dict[str, list[StoredRun]]]:
    """The finished runs by model and chain, in the order of the seeds, the published chain first.

    A model whose published chain has no result is left out.
    """
    groups: dict[str, dict[str, list[StoredRun]]] = {model: {} for model in SAMPLER_MODELS}
    for run in sorted(runs, key=lambda run: (run.tags["seed"], run.tags["chain"])):
        if run.status == "FINISHED":
            model = json.loads(run.tags["cell"])["model"]
            groups[model].setdefault(run.tags["chain"], []).append(run)
    return {model.upper(): chains for model, chains in groups.items() if published_runs(chains)}


def published_runs(chains: Mapping[str, list[StoredRun]]) -> list[StoredRun]:
    """The runs of the published chain."""
    return chains.get("encode decode, batch BN", [])


def _row(
    model: str, label: str, step: int, runs: Sequence[StoredRun], published: float
) -> SamplerRow:
    """The row of a sampler at a step."""
    fcd, low, high = interval([run.chain["fcd"][step] for run in runs])
    means = {name: statistics.mean(run.chain[name][step] for run in runs) for name in MEANS}
    calls = statistics.mean(calls_until(run, step) for run in runs)
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


def calls_until(run: StoredRun, step: int) -> float:
    """The calls of the decoder and the encoder for a sample after a step."""
    return run.scalars["calls_start"] + step * run.scalars["calls_step"]


def _is_on_front(row: SamplerRow, rows: Sequence[SamplerRow]) -> bool:
    """Whether no row has a lower FCD with no more calls."""
    return not any(other.calls <= row.calls and other.fcd < row.fcd for other in rows)
