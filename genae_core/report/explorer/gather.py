"""What the explorer reads of a sweep: its runs, their curves and where their pictures lie.

The curves come from each run's curve.json: a thousand metric histories would take minutes.
"""

import json
import math
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from genae_core.experiment.recording import LATENT, SPRITE
from genae_core.tracking.mlflow_store import StoredRun, StoreError, Tracker
from genae_core.tracking.store_uri import redact

READERS = 8  # at once: over HTTP most of the time is waiting
TAGS = ("family", "cell", "chain", "seed", "latent_dim")
SCALARS = ("fcd_step0", "fcd_best", "fcd_best_step", "fcd_floor")
STRIP = "strip.png"
DRAWN = "figures/interpolations_"  # begins the path of a model's interpolations, after some steps


class Artifact(NamedTuple):
    """path: below the run's artifacts. size: bytes."""

    path: str
    size: int


class Read(NamedTuple):
    """A finished run. values: {metric: one value a step}, None where it is not finite. sprite:
    some samples at every step. strip: chains by steps. drawn: interpolations. latent: z in a
    plane."""

    curve: StoredRun
    name: str
    experiment_id: str
    steps: list[int]
    values: dict[str, list[float | None]]
    sprite: Artifact | None
    strip: Artifact | None
    drawn: Artifact | None
    latent: Artifact | None


class Unread(NamedTuple):
    """A run without a result, and why."""

    run_id: str
    name: str
    status: str
    reason: str


class Artifacts:
    """The files of runs: on this machine's disk where they lie there, else fetched to scratch."""

    def __init__(self, tracker: Tracker, scratch: Path) -> None:
        self.tracker = tracker
        self.scratch = scratch
        self.folders: dict[str, Path] = {}

    def know(self, run: Any) -> None:
        """Remember where the run's files lie, if that is on this machine's disk."""
        parts = urllib.parse.urlparse(run.info.artifact_uri or "")
        if parts.scheme in ("", "file") and parts.path:
            self.folders[run.info.run_id] = Path(urllib.request.url2pathname(parts.path))

    def listed(self, run_id: str, folder: str = "") -> list[Artifact]:
        """The files directly in a folder of the run's artifacts, by name."""
        if run_id in self.folders:
            place = self.folders[run_id] / folder
            files = [path for path in place.glob("*") if path.is_file()]
            found = [
                Artifact(f"{folder}/{path.name}".lstrip("/"), path.stat().st_size)
                for path in files
            ]
        else:
            infos = self.tracker.client.list_artifacts(run_id, folder or None)
            found = [Artifact(i.path, i.file_size or 0) for i in infos if not i.is_dir]
        return sorted(found)

    def read(self, run_id: str, path: str) -> bytes:
        """The file's bytes. Raises OSError or StoreError where there is none."""
        if run_id in self.folders:
            return (self.folders[run_id] / path).read_bytes()
        place = self.scratch / run_id
        place.mkdir(parents=True, exist_ok=True)
        return self.tracker.fetch(run_id, path, place).read_bytes()


def find(tracker: Tracker, sweeps: Sequence[str]) -> list[Any]:
    """MLflow's runs of the sweeps, whatever experiment holds them.

    Raises ValueError for a store that cannot be read, and for a sweep that it does not know,
    naming those that it does.
    """
    runs: list[Any] = []
    try:
        experiments = [found.experiment_id for found in tracker.client.search_experiments()]
        for name in sweeps:
            if "'" in name or "`" in name:
                raise ValueError(f"a sweep's name holds no quotes, got {name!r}")
            found = [run for one in experiments for run in _of(tracker, one, sweep=name)]
            if not found:
                known = {
                    run.data.tags["sweep"]
                    for one in experiments
                    for run in _of(tracker, one)
                    if "sweep" in run.data.tags
                }
                listed = ", ".join(sorted(known)[:20]) or "none at all"
                raise ValueError(f"no sweep {name!r} in {redact(tracker.uri)}; it has: {listed}")
            runs += found
    except StoreError as error:
        text = redact(str(error)).splitlines()[0]
        raise ValueError(f"the store {redact(tracker.uri)} cannot be read: {text}") from None
    return runs


def _of(tracker: Tracker, experiment_id: str, **tags: str) -> list[Any]:
    tracker.experiment_id = experiment_id
    return tracker.find(**tags)


def gather(runs: Iterable[Any], artifacts: Artifacts) -> tuple[list[Read], list[Unread]]:
    """The finished runs with their curves, and the others with what is known of them."""
    every = list(runs)
    for run in every:
        artifacts.know(run)
    with ThreadPoolExecutor(READERS) as pool:
        results = list(pool.map(lambda run: _read(run, artifacts), every))
    return (
        [found for found in results if isinstance(found, Read)],
        [found for found in results if isinstance(found, Unread)],
    )


def fetch_all(artifacts: Artifacts, wanted: Sequence[tuple[str, Artifact]]) -> list[bytes | None]:
    """The files' bytes in the order asked for, None for one that cannot be read."""

    def one(asked: tuple[str, Artifact]) -> bytes | None:
        try:
            return artifacts.read(asked[0], asked[1].path)
        except (OSError, StoreError):
            return None

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(one, wanted))


def _read(run: Any, artifacts: Artifacts) -> Read | Unread:
    info, data = run.info, run.data
    name = data.tags.get("mlflow.runName") or info.run_id

    def without(reason: str) -> Unread:
        return Unread(info.run_id, name, info.status, reason)

    if info.status != "FINISHED":
        return without(data.tags.get("error", ""))
    missing = [tag for tag in TAGS if tag not in data.tags]
    missing += [key for key in SCALARS if not math.isfinite(data.metrics.get(key, math.nan))]
    if missing:
        return without(f"it has no finite {', '.join(missing)}")
    try:
        if not _is_cell(json.loads(data.tags["cell"])):
            return without("its tag cell holds other things than words and numbers")
        steps, values = curve_of(artifacts.read(info.run_id, "curve.json"))
    except (OSError, StoreError):
        return without("it has no curve.json")
    except ValueError as error:
        return without(f"its curves cannot be read: {error}")
    chain = {
        metric: {k: v for k, v in zip(steps, column, strict=True) if v is not None}
        for metric, column in values.items()
    }
    scalars = {key: value for key, value in data.metrics.items() if "/" not in key}
    curve = StoredRun(info.run_id, info.status, dict(data.tags), dict(data.params), scalars, chain)
    files = {file.path: file for file in _listed(artifacts.listed, info.run_id, "")}
    figures = _listed(artifacts.listed, info.run_id, "figures")
    drawn = next((file for file in figures if file.path.startswith(DRAWN)), None)
    parts = (files.get(SPRITE), files.get(STRIP), drawn, files.get(LATENT))
    return Read(curve, name, info.experiment_id, steps, values, *parts)


def _is_cell(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(inner, str | int | float) for inner in value.values()
    )


def _listed(
    listed: Callable[[str, str], list[Artifact]], run_id: str, folder: str
) -> list[Artifact]:
    """A folder that cannot be listed is an empty one: the page says that pictures are missing."""
    try:
        return listed(run_id, folder)
    except (OSError, StoreError):
        return []


def curve_of(text: bytes) -> tuple[list[int], dict[str, list[float | None]]]:
    """The recorded steps and {metric: one value a step} of a curve.json, without the errors.

    Raises ValueError where it is not one.
    """
    told = json.loads(text)
    if not isinstance(told, dict) or not isinstance(told.get("step"), list):
        raise ValueError("curve.json is not an object with the list step")
    steps = told.pop("step")
    if not all(type(k) is int and k >= 0 for k in steps) or steps != sorted(set(steps)):
        raise ValueError("the steps of curve.json are not ascending whole numbers")
    values = {}
    for name, column in told.items():
        if name.endswith("_se"):
            continue
        if not isinstance(column, list) or len(column) != len(steps):
            raise ValueError(f"{name} has not one value a step")
        values[name] = [_finite(value) for value in column]
    if "fcd" not in values:
        raise ValueError("it has no fcd")
    return steps, values


def _finite(value: object) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None  # type: ignore[arg-type]
