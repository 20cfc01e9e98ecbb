"""The settings of claims, from the runs of finished sweeps.

A setting is a sweep's model, its latent dimension, any further coordinates of its cell, and the
batch normalisation of its chain. A claim about one model has a value for each of its runs. A
claim about two models compares those that have the same setting and the same seed.
"""

import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from genae_core.config import require
from genae_core.config.places import is_sqlite, sqlite_path
from genae_core.recipes.claim_statistics import Statistic
from genae_core.recipes.families import FAMILIES
from genae_core.report.explorer.gather import find_runs
from genae_core.report.formatting import format_value
from genae_core.report.ledger import Claim, Measurement
from genae_core.report.tables import is_blind
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.sweep.runs import chain_label
from genae_core.tracking.mlflow_store import StoredRun, Tracker

NORMS: Mapping[Literal["running", "batch"], str] = {"running": "", "batch": " batch BN"}
# The published chain, and what the names of its settings add.
CHAINS = {
    chain_label(ChainConfig(sampler=EncodeDecode(), batch_norm="batch")): "",
    chain_label(ChainConfig(sampler=EncodeDecode(), batch_norm="running")): " running BN",
}
# Draws from the prior, or from the distribution that was fitted to the codes: runs of draws alone,
# and the start of the published chain, of families that have one.
DRAWS = {
    chain_label(ChainConfig(sampler=sampler, batch_norm=norm)): words
    for sampler in (Ancestral(), EncodeDecode())
    for norm, words in NORMS.items()
}
HISTORIES = (
    *("fcd", "fcd_val", "z_posterior_w2", "rhat", "parzen", "recall", "precision"),
    *("train/flow", "train/generator"),
)
FEWEST_FOR_SPREAD = 3  # two seeds are equally far from their median
# The coordinates of a cell that can name its model, the first that it has.
MODEL_COORDINATES = ("family", "model", "figure")


Row = Mapping[str, Any]  # a row of a table, as JSON


class StoredClaim(NamedTuple):
    """A claim, and how runs decide it.

    Attributes:
        claim: The claim.
        statistic: The statistic of one run.
        models: The models that it is about, one after the other; or pairs of models, of which the
            first's statistic is divided by the second's, or for a claim that is no ratio, the
            second's is subtracted.
        needs: What is measured on the trained models for it, and not stored (a name in
            `claim_models.MEASURES`); empty if everything is stored.
        chains: The chains whose runs decide it, as their labels, each with what the names of its
            settings add. Chains that add the same are compared with each other; of one model, the
            first is taken.
        command: The command that makes its runs; empty if it is the study of claims.
        is_spread: Whether the statistic is replaced by its distance from the median over the
            seeds, to compare spreads (Brown & Forsythe 1974).
        baseline: A coordinate and its value, whose statistic of the same model and seed divides
            that of all other values; None divides by nothing.
        rows: For a claim about a table that keeps no runs: its measurements from the table's rows.
    """

    claim: Claim
    statistic: Statistic
    models: tuple[tuple[str, ...], ...]
    needs: str = ""
    chains: Mapping[str, str] = CHAINS
    command: str = ""
    is_spread: bool = False
    baseline: tuple[str, str] | None = None
    rows: Callable[[Sequence[Row]], list[Measurement]] | None = None


class Setting(NamedTuple):
    """Where a statistic is measured, apart from the model and the seed.

    Attributes:
        sweep: The name of the sweep.
        coordinates: The other coordinates of the cell.
        chain: The label of the chain, or what it adds to the name of the setting.
    """

    sweep: str
    coordinates: tuple[tuple[str, str | int | float], ...]
    chain: str


Runs = dict[tuple[str, Setting], dict[int, StoredRun]]  # by model and setting, then by seed


def read_runs(
    uri: str, sweeps: Sequence[str], latent_dims: Sequence[int] | None = None
) -> list[StoredRun]:
    """Read the finished runs of sweeps, with the metrics that claims need.

    Args:
        uri: The tracking URI of the store.
        sweeps: The names of the sweeps.
        latent_dims: The latent dimensions whose runs are read; None reads all.

    Raises:
        ValueError: There is no such store or sweep, no run has finished, or a classifier of
            theirs measures nothing.
    """
    # MLflow would make a new store if there is none.
    if is_sqlite(uri) and not sqlite_path(uri).is_file():
        raise ValueError(f"there is no store at {uri}; give --tracking-uri")
    tracker = Tracker(uri, "")
    finished: list[StoredRun] = []
    for name in sweeps:
        experiments = {run.info.experiment_id for run in find_runs(tracker, [name])}
        for tracker.experiment_id in sorted(experiments):
            runs = tracker.read_runs(name, HISTORIES)
            finished += [run for run in runs if run.status == "FINISHED"]
    require(bool(finished), "no run of these sweeps has finished", sweeps=", ".join(sweeps))
    if latent_dims is not None:
        dims = {run.run_id: json.loads(run.tags["cell"]).get("latent_dim") for run in finished}
        finished = [run for run in finished if dims[run.run_id] in latent_dims]
        require(
            bool(finished),
            f"--latent-dims must be among {', '.join(map(str, sorted(set(dims.values()))))}",
            latent_dims=latent_dims,
        )
    blind = [run.run_id for run in finished if is_blind(run)]
    require(not blind, "the FCD's classifier measures nothing in these runs", runs=blind[:3])
    return finished


def group_runs(runs: Iterable[StoredRun]) -> Runs:
    """The runs by model and setting, in the order of their seeds."""
    groups: Runs = {}
    for run in sorted(runs, key=lambda run: int(run.tags["seed"])):
        model, others = split_cell(json.loads(run.tags["cell"]))
        setting = Setting(run.tags["sweep"], tuple(sorted(others.items())), run.tags["chain"])
        groups.setdefault((model, setting), {})[int(run.tags["seed"])] = run
    return groups


def split_cell(cell: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of a cell's model, and its other coordinates.

    A cell without a coordinate that names a model is one itself, such as "gamma=0.5".
    """
    for name in MODEL_COORDINATES:
        if name in cell:
            return str(cell[name]), {n: v for n, v in cell.items() if n != name}
    return " ".join(f"{name}={format_value(value)}" for name, value in sorted(cell.items())), {}


def models_of(claims: Sequence[StoredClaim]) -> tuple[str, ...]:
    """The models that claims are about, each once."""
    groups = (models for claim in claims for models in claim.models)
    return tuple(dict.fromkeys(model for models in groups for model in models))


def measure(claim: StoredClaim, runs: Runs, rows: Sequence[Row] = ()) -> list[Measurement]:
    """The claim's statistic in each setting that has its models.

    Args:
        claim: The claim.
        runs: The runs by model and setting (see `group_runs`).
        rows: Rows of tables.
    """
    if claim.rows is not None:
        return claim.rows(rows)
    several = len({setting.sweep for _, setting in runs}) > 1
    alike = _merge_chains(runs, claim.chains)
    settings = sorted({setting for _, setting in alike}, key=_order)
    measurements = []
    for models in claim.models:
        for setting in settings:
            members = [alike.get((model, setting), {}) for model in models]
            values = _values(claim, members)
            if claim.baseline is not None:
                values = _over_baseline(claim, values, alike, (models, setting))
            if values:
                run_ids = tuple(m[seed].run_id for m in members for seed in values)
                name = "".join(_words(models, setting, several))
                measurements.append(Measurement(name, values, run_ids))
    return measurements


def _merge_chains(runs: Runs, chains: Mapping[str, str]) -> Runs:
    """The runs of these chains, which have in place of its label what names of settings add."""
    merged: Runs = {}
    for label, words in chains.items():
        for (model, setting), by_seed in runs.items():
            if setting.chain == label:
                merged.setdefault((model, setting._replace(chain=words)), by_seed)
    return merged


def _over_baseline(
    claim: StoredClaim,
    values: Mapping[int, float],
    runs: Runs,
    where: tuple[tuple[str, ...], Setting],
) -> dict[int, float]:
    """The values divided by those of the baseline; none for the baseline itself."""
    assert claim.baseline is not None
    (model,), setting = where
    name, value = claim.baseline
    others = {n: v for n, v in setting.coordinates if n != name}
    own = tuple(sorted({**others, name: value}.items()))
    if own == setting.coordinates:
        return {}
    base = _side(claim, runs.get((model, setting._replace(coordinates=own)), {}))
    return {seed: number / base[seed] for seed, number in values.items() if seed in base}


def _values(claim: StoredClaim, members: Sequence[Mapping[int, StoredRun]]) -> dict[int, float]:
    """The statistic by seed, of one model's runs or of two that are compared."""
    first, *second = [_side(claim, member) for member in members]
    if not second:
        return first
    (other,) = second
    shared = [seed for seed in first if seed in other]
    if claim.claim.ratio:
        return {seed: first[seed] / other[seed] for seed in shared}
    return {seed: first[seed] - other[seed] for seed in shared}


def _side(claim: StoredClaim, member: Mapping[int, StoredRun]) -> dict[int, float]:
    """The statistic of one model by seed, where it has one."""
    lowest = 0.0 if claim.claim.ratio else -math.inf
    side: dict[int, float] = {}
    for seed, run in member.items():
        number = claim.statistic(run)
        if number is not None and math.isfinite(number) and number > lowest:
            side[seed] = number
    if claim.is_spread:
        if len(side) < FEWEST_FOR_SPREAD:
            return {}
        centre = statistics.median(side.values())
        return {seed: abs(number - centre) for seed, number in side.items()}
    return side


def _order(setting: Setting) -> tuple[object, ...]:
    """A sort key that puts words before numbers, and numbers in order of size."""
    numbers = [
        (name, (1, value, "") if isinstance(value, int | float) else (0, 0, value))
        for name, value in setting.coordinates
    ]
    return setting.sweep, setting.chain, numbers


def _words(models: Sequence[str], setting: Setting, several: bool) -> Iterator[str]:
    """The setting in words: "AAE/VAE-10"."""
    if several:
        yield f"{setting.sweep}: "
    yield "/".join(map(_label, models))
    for name, value in setting.coordinates:
        yield f"-{value}" if name == "latent_dim" else f" {name}={format_value(value)}"
    yield setting.chain


def _label(model: str) -> str:
    return model.upper().replace("_", "-") if model in FAMILIES else model.replace("_", " ")
