"""The statistics of claims, from the runs of finished sweeps.

A setting is a sweep's model, its latent dimension, any further coordinates of its cell, and the
batch normalisation of its chain. A claim about one family has a value for each of its runs. A
claim about two families compares those that have the same setting and the same seed.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from genae_core.config import require
from genae_core.config.places import is_sqlite, sqlite_path
from genae_core.report.explorer.gather import find_runs
from genae_core.report.formatting import format_value
from genae_core.report.ledger import Claim, Measurement
from genae_core.report.tables import is_blind
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.sweep.runs import chain_label
from genae_core.tracking.mlflow_store import StoredRun, Tracker

# The published chain, and what the names of its settings add.
CHAINS = {
    chain_label(ChainConfig(sampler=EncodeDecode(), batch_norm="batch")): "",
    chain_label(ChainConfig(sampler=EncodeDecode(), batch_norm="running")): " running BN",
}
CHAIN_METRICS = ("fcd", "fcd_val", "z_posterior_w2", "rhat")

Statistic = Callable[[StoredRun], float | None]  # None if the run does not have it


class StoredClaim(NamedTuple):
    """A claim, and how runs decide it.

    Attributes:
        claim: The claim.
        statistic: The statistic of one run.
        families: The families that it is about, one after the other; or pairs of families, of
            which the first's statistic is divided by the second's, or for a claim that is no
            ratio, the second's is subtracted.
        needs_model: Whether the statistic is measured on the trained model, and not stored.
    """

    claim: Claim
    statistic: Statistic
    families: tuple[tuple[str, ...], ...]
    needs_model: bool = False


class Setting(NamedTuple):
    """Where a statistic is measured, apart from the family and the seed."""

    sweep: str
    coordinates: tuple[tuple[str, str | int | float], ...]
    chain: str


Runs = dict[tuple[str, Setting], dict[int, StoredRun]]  # by family and setting, then by seed


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
            runs = tracker.read_runs(name, CHAIN_METRICS)
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
    """The runs of the published chain by family and setting, in the order of their seeds."""
    groups: Runs = {}
    for run in sorted(runs, key=lambda run: int(run.tags["seed"])):
        chain = run.tags["chain"]
        if chain in CHAINS:
            cell = json.loads(run.tags["cell"])
            others = tuple(sorted((n, v) for n, v in cell.items() if n != "family"))
            setting = Setting(run.tags["sweep"], others, chain)
            groups.setdefault((cell.get("family", ""), setting), {})[int(run.tags["seed"])] = run
    return groups


def families_of(claims: Sequence[StoredClaim]) -> tuple[str, ...]:
    """The families that claims are about, each once."""
    groups = (families for claim in claims for families in claim.families)
    return tuple(dict.fromkeys(family for families in groups for family in families))


def measure(claim: StoredClaim, runs: Runs) -> list[Measurement]:
    """The claim's statistic in each setting that has its families.

    Args:
        claim: The claim.
        runs: The runs by family and setting (see `group_runs`).
    """
    several = len({setting.sweep for _, setting in runs}) > 1
    settings = sorted({setting for _, setting in runs}, key=_order)
    measurements = []
    for families in claim.families:
        for setting in settings:
            members = [runs.get((family, setting), {}) for family in families]
            seeds = sorted(set.intersection(*(set(member) for member in members)))
            values = {}
            for seed in seeds:
                value = _value(claim, [member[seed] for member in members])
                if value is not None:
                    values[seed] = value
            if values:
                run_ids = tuple(m[seed].run_id for m in members for seed in values)
                name = _name(families, setting, several)
                measurements.append(Measurement(name, values, run_ids))
    return measurements


def _value(claim: StoredClaim, runs: Sequence[StoredRun]) -> float | None:
    """The statistic of one seed, of one run or of two that are compared."""
    values = [claim.statistic(run) for run in runs]
    if any(value is None or not math.isfinite(value) for value in values):
        return None
    first, *second = (value for value in values if value is not None)
    if claim.claim.ratio:
        pair = (first, *second)
        return None if min(pair) <= 0 else first / (second[0] if second else 1.0)
    return first - (second[0] if second else 0.0)


def _order(setting: Setting) -> tuple[object, ...]:
    """A sort key that puts words before numbers, and numbers in order of size."""
    numbers = [
        (name, (1, value, "") if isinstance(value, int | float) else (0, 0, value))
        for name, value in setting.coordinates
    ]
    return setting.sweep, list(CHAINS).index(setting.chain), numbers


def _name(families: Sequence[str], setting: Setting, several: bool) -> str:
    """The setting in words: "AAE/VAE-10"."""
    return "".join(_words(families, setting, several))


def _words(families: Sequence[str], setting: Setting, several: bool) -> Iterator[str]:
    if several:
        yield f"{setting.sweep}: "
    yield "/".join(family.upper() for family in families)
    for name, value in setting.coordinates:
        yield f"-{value}" if name == "latent_dim" else f" {name}={format_value(value)}"
    yield CHAINS[setting.chain]


def improvement(run: StoredRun) -> float | None:
    """The FCD at the best step after step 0, divided by the FCD at step 0."""
    step = best_step(run)
    return None if step is None else run.chain["fcd"][step] / run.chain["fcd"][0]


def best_step(run: StoredRun, last: bool = True) -> int | None:
    """The step after step 0 with the lowest FCD on validation.

    last: Whether it may be the last recorded step.
    """
    curve = run.chain.get("fcd_val", {})
    steps = sorted(step for step in curve if step in run.chain.get("fcd", {}))
    later = steps[1:] if last else steps[1:-1]
    return min(later, key=lambda step: curve[step]) if later and steps[0] == 0 else None


def best_fcd(run: StoredRun) -> float | None:
    """The FCD at the best step after step 0."""
    step = best_step(run)
    return None if step is None else run.chain["fcd"][step]


def harm(run: StoredRun) -> float | None:
    """The FCD at the last step, divided by the FCD at the best step before it."""
    step = best_step(run, last=False)
    return (
        None if step is None else run.chain["fcd"][max(run.chain["fcd"])] / run.chain["fcd"][step]
    )


def at(metric: str, which: Callable[[Iterable[int]], int]) -> Statistic:
    """A metric at the first or the last recorded step: `which` is min or max."""

    def value(run: StoredRun) -> float | None:
        curve = run.chain.get(metric, {})
        return curve[which(curve)] if curve else None

    return value


def approach(run: StoredRun) -> float | None:
    """The distance of z to the codes at the last step, divided by that at step 0."""
    curve = run.chain.get("z_posterior_w2", {})
    return curve[max(curve)] / curve[0] if len(curve) > 1 and curve.get(0, 0) > 0 else None


def scalar(name: str) -> Statistic:
    """A metric without a step."""
    return lambda run: run.scalars.get(name)


def fraction(name: str, other: str) -> Statistic:
    """One metric without a step, divided by another."""

    def value(run: StoredRun) -> float | None:
        whole = run.scalars.get(other, 0.0)
        return run.scalars[name] / whole if name in run.scalars and whole > 0 else None

    return value
