"""What the page reads from the store: the sweep's runs, their curves and their pictures.

The curves come from each run's file curve.json, because reading a thousand metric histories from
the store would take minutes.
"""

import contextlib
import json
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from genae_core.config.redaction import redact
from genae_core.data import sealed
from genae_core.experiment.recording import LATENT, SPRITE
from genae_core.report.decision import IS_SETTLED, SETTLED, Decision, parse_decision
from genae_core.report.explorer.artifacts import READERS, Artifact, Artifacts
from genae_core.report.tables import share_rulers
from genae_core.tracking.mlflow_store import StoredRun, StoreError, Tracker

TAGS = ("family", "cell", "chain", "seed", "latent_dim")
SCALARS = ("fcd_step0", "fcd_best", "fcd_best_step", "fcd_floor")
STRIP = "strip.png"
INTERPOLATIONS = "figures/interpolations_"  # the path of a model's interpolations begins with this


class FinishedRun(NamedTuple):
    """A finished run with its curves.

    Attributes:
        stored: The run as the store holds it.
        name: The run's name in MLflow.
        experiment_id: MLflow's id of the run's experiment.
        steps: The recorded MCMC steps, ascending.
        values: By metric, one value per recorded step, or None if it is not finite.
        sprite: The picture with samples of every recorded step, if there is one.
        strip: The picture with one chain per row, if there is one.
        interpolations: The picture of interpolations, if there is one.
        latent: The file with latent codes in a plane, if there is one.
    """

    stored: StoredRun
    name: str
    experiment_id: str
    steps: list[int]
    values: dict[str, list[float | None]]
    sprite: Artifact | None
    strip: Artifact | None
    interpolations: Artifact | None
    latent: Artifact | None


class RunWithoutResult(NamedTuple):
    """A run that the page can only list, with MLflow's status and the reason."""

    run_id: str
    name: str
    status: str
    reason: str


def find_runs(tracker: Tracker, sweeps: Sequence[str]) -> list[Any]:
    """Return MLflow's runs of the sweeps, from all experiments of the store.

    Args:
        tracker: The store.
        sweeps: The names of the sweeps.

    Raises:
        ValueError: The store cannot be read, or it has no run of a sweep. The message then names
            the sweeps that it has.
    """
    runs: list[Any] = []
    try:
        experiments = [item.experiment_id for item in tracker.client.search_experiments()]
        for name in sweeps:
            if "'" in name or "`" in name:
                raise ValueError(f"the name of a sweep holds no quotes, got {name!r}")
            members: list[Any] = []
            for experiment in experiments:
                members += _find(tracker, experiment, sweep=name)
            if not members:
                known = _sweep_names(tracker, experiments)
                listed = ", ".join(known[:20]) or "no sweep"
                raise ValueError(f"no sweep {name!r} in {redact(tracker.uri)}; it has: {listed}")
            runs += members
    except StoreError as error:
        text = redact(str(error)).splitlines()[0]
        raise ValueError(f"the store {redact(tracker.uri)} cannot be read: {text}") from None
    return runs


def _find(tracker: Tracker, experiment_id: str, **tags: str) -> list[Any]:
    tracker.experiment_id = experiment_id
    return tracker.find(**tags)


def _sweep_names(tracker: Tracker, experiments: Sequence[str]) -> list[str]:
    """Return the names of all sweeps in these experiments, in alphabetical order."""
    names: set[str] = set()
    for experiment in experiments:
        for run in _find(tracker, experiment):
            if "sweep" in run.data.tags:
                names.add(run.data.tags["sweep"])
    return sorted(names)


def find_decisions(
    tracker: Tracker, sweeps: Sequence[str], artifacts: Artifacts
) -> dict[str, Decision]:
    """Return what the sweeps have decided that ran until they were settled, by sweep.

    It is in their summary runs. A decision that cannot be read is left out.
    """
    decisions = {}
    with contextlib.suppress(OSError, StoreError, ValueError):
        for experiment in tracker.client.search_experiments():
            for name in sweeps:
                for run in _find(tracker, experiment.experiment_id, summary=name):
                    if IS_SETTLED not in run.data.tags:
                        continue
                    artifacts.locate(run)
                    decision = parse_decision(artifacts.read(run.info.run_id, SETTLED))
                    if decision is not None:
                        decisions[name] = decision
    return decisions


def gather(
    runs: Iterable[Any], artifacts: Artifacts
) -> tuple[list[FinishedRun], list[RunWithoutResult]]:
    """Read the curves of MLflow's runs, and separate the runs that have no result."""
    runs = list(runs)
    for run in runs:
        artifacts.locate(run)
    with ThreadPoolExecutor(READERS) as pool:
        results = list(pool.map(lambda run: _read(run, artifacts), runs))
    finished = [result for result in results if isinstance(result, FinishedRun)]
    stored = share_rulers(result.stored for result in finished)
    return (
        [run._replace(stored=one) for run, one in zip(finished, stored, strict=True)],
        [result for result in results if isinstance(result, RunWithoutResult)],
    )


def _read(run: Any, artifacts: Artifacts) -> FinishedRun | RunWithoutResult:
    """Read one of MLflow's runs."""
    info, data = run.info, run.data
    name = data.tags.get("mlflow.runName") or info.run_id
    if info.status != "FINISHED":
        return RunWithoutResult(info.run_id, name, info.status, data.tags.get("error", ""))
    try:
        _check(run)
        steps, values = parse_curves(artifacts.read(info.run_id, "curve.json"))
    except (OSError, StoreError):
        return RunWithoutResult(info.run_id, name, info.status, "it has no curve.json")
    except ValueError as error:
        return RunWithoutResult(info.run_id, name, info.status, str(error))
    chain = {
        metric: {k: v for k, v in zip(steps, column, strict=True) if v is not None}
        for metric, column in values.items()
    }
    stored = StoredRun(
        run_id=info.run_id,
        status=info.status,
        tags=dict(data.tags),
        params=dict(data.params),
        scalars={key: value for key, value in data.metrics.items() if "/" not in key},
        chain=chain,
    )
    files = {file.path: file for file in artifacts.list_files(info.run_id)}
    figures = artifacts.list_files(info.run_id, "figures")
    return FinishedRun(
        stored=stored,
        name=name,
        experiment_id=info.experiment_id,
        steps=steps,
        values=values,
        sprite=files.get(SPRITE),
        strip=files.get(STRIP),
        interpolations=next((f for f in figures if f.path.startswith(INTERPOLATIONS)), None),
        latent=files.get(LATENT),
    )


def _check(run: Any) -> None:
    """Raise ValueError if a run lacks a tag or a scalar that the page needs."""
    tags, metrics = run.data.tags, run.data.metrics
    missing = [tag for tag in TAGS if tag not in tags]
    missing += [key for key in SCALARS if not math.isfinite(metrics.get(key, math.nan))]
    if missing:
        raise ValueError(f"it has no finite {', '.join(missing)}")
    try:
        cell = json.loads(tags["cell"])
    except ValueError as error:
        raise ValueError(f"its tag cell cannot be read: {error}") from None
    if not isinstance(cell, dict) or not all(
        isinstance(value, str | int | float) for value in cell.values()
    ):
        raise ValueError("its tag cell holds other things than words and numbers")


def parse_curves(text: bytes) -> tuple[list[int], dict[str, list[float | None]]]:
    """Read a curve.json.

    Args:
        text: The contents of the file: an object with the list "step" and a list per metric.

    Returns:
        The recorded steps, and by metric one value per step, with None for a value that is not
        finite. The standard errors are left out.

    Raises:
        ValueError: The text is not such an object.
    """
    curves = sealed.from_text(text, "its curve.json")
    if not isinstance(curves.get("step"), list):
        raise ValueError("its curve.json is not an object with the list step")
    steps = curves.pop("step")
    if not all(type(k) is int and k >= 0 for k in steps) or steps != sorted(set(steps)):
        raise ValueError("the steps in its curve.json are not ascending whole numbers")
    values = {}
    for name, column in curves.items():
        if name.endswith("_se"):
            continue
        if not isinstance(column, list) or len(column) != len(steps):
            raise ValueError(f"{name} in its curve.json does not have one value per step")
        values[name] = [_finite_or_none(value) for value in column]
    if "fcd" not in values:
        raise ValueError("its curve.json has no fcd")
    return steps, values


def _finite_or_none(value: object) -> float | None:
    """Return a finite number as a float, and None for anything else."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None  # type: ignore[arg-type]
