"""The only importer of mlflow: one run for each (cell, seed, chain setting).

Uses MlflowClient with explicit run ids; the fluent API's global run clashes between trials.
"""

import json
import logging
import math
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves without being asked
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
for _noisy in ("alembic", "mlflow.store.db.utils", "mlflow.utils.uri"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)

import mlflow.entities as entities  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

from genae_core.evaluation import ChainResult  # noqa: E402

TIMEOUT_S = 10
CURVES = ("fcd_val", "fcd", "fcd_ratio")


class Curve(NamedTuple):
    """One run read back: its id, status, tags, params, last scalars, and {metric: {step: value}}
    of its chain metrics."""

    run_id: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    scalars: dict[str, float]
    chain: dict[str, dict[int, float]]


def redact(text: str) -> str:
    """The text with the passwords of its URLs replaced."""
    return re.sub(r"(://[^/@:\s]*):[^/@\s]+@", r"\1:***@", text)


def resolve_uri(uri: str) -> str:
    """The tracking URI with an SQLite path made absolute.

    Raises ValueError for a store that MLflow no longer writes, a folder that is not there, or a
    server that does not answer within TIMEOUT_S.
    """
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///")).expanduser().absolute()
        if not path.parent.is_dir():
            raise ValueError(
                f"--tracking-uri: the folder {path.parent} is not there; make it first"
            )
        return f"sqlite:///{path}"
    if uri.startswith(("http://", "https://")):
        _check_answers(uri)
        return uri
    if "://" not in uri or uri.startswith("file:"):
        raise ValueError(
            "--tracking-uri must be sqlite:///PATH, http(s)://HOST:PORT or another "
            f"database MLflow knows, got {uri!r}: MLflow's file store is closed"
        )
    return uri


def is_local(uri: str) -> bool:
    """Whether only this machine can reach the store."""
    return uri.startswith("sqlite:")


class Tracker:
    """Writes and reads the runs of one MLflow experiment."""

    def __init__(self, uri: str, experiment_id: str) -> None:
        self.uri = uri
        self.experiment_id = experiment_id
        self.client = MlflowClient(uri)

    @classmethod
    def create(cls, uri: str, experiment: str, artifacts: Path) -> "Tracker":
        """Make the database and the experiment, once, before any trial opens them.

        artifacts: where a local store keeps files; a server has its own place.
        Raises ValueError where the store cannot be opened.
        """
        try:
            client = MlflowClient(uri)
            found = client.get_experiment_by_name(experiment)
            if found is None:
                place = artifacts.as_uri() if is_local(uri) else None
                return cls(uri, client.create_experiment(experiment, place))
            if found.lifecycle_stage != "active":
                raise ValueError(
                    f"the MLflow experiment {experiment!r} was deleted: restore it "
                    "with `mlflow experiments restore`, or use another store"
                )
            return cls(uri, found.experiment_id)
        except MlflowException as error:
            raise ValueError(
                f"the tracking store {redact(uri)} cannot be opened: {redact(str(error))}"
            ) from None
        except OSError as error:
            raise ValueError(f"the tracking store {redact(uri)}: {error}") from None

    def find(self, **tags: str) -> list[entities.Run]:
        """All runs with these tags, oldest first."""
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        runs: list[entities.Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id],
                query,
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def start(self, name: str, key: str, tags: dict[str, str], params: dict[str, object]) -> str:
        """The running run under `key`: one that was cut off goes on, else a new one."""
        cut_off = [run for run in self.find(key=key) if run.info.status != "FINISHED"]
        for old in cut_off[:-1]:
            self.client.delete_run(old.info.run_id)
        if cut_off:
            run = cut_off[-1]
            self.client.update_run(run.info.run_id, status="RUNNING")
            if "error" in run.data.tags:
                self.client.delete_tag(run.info.run_id, "error")
        else:
            every = {**tags, "key": key}
            run = self.client.create_run(self.experiment_id, run_name=name, tags=every)
        pairs = [entities.Param(name, str(value)) for name, value in params.items()]
        for first in range(0, len(pairs), 100):  # MLflow's limit a call
            self.client.log_batch(run.info.run_id, params=pairs[first : first + 100])
        return str(run.info.run_id)

    def log_training(self, run_id: str, points: Iterable[tuple[int, dict[str, float]]]) -> None:
        """train/* by optimiser step, in one call a thousand values."""
        self._log(
            run_id,
            [
                (f"train/{name}", value, step)
                for step, terms in points
                for name, value in terms.items()
            ],
        )

    def log_chain(self, run_id: str, result: ChainResult) -> None:
        """chain/* by MCMC step, the scalars, a grid a step under one key, and the strip."""
        curves = {"fcd_val": result.fcd_val, "fcd": result.fcd, **result.curves}
        if result.floor > 0:
            curves["fcd_ratio"] = [value / result.floor for value in result.fcd]
        steps = result.config.record
        rows = [
            (f"chain/{name}", value, step)
            for name, values in curves.items()
            for step, value in zip(steps, values, strict=True)
            if math.isfinite(value)
        ]
        self._log(run_id, [*rows, *((name, value, 0) for name, value in result.summary().items())])
        for step, picture in zip(steps, result.grids, strict=True):
            self.client.log_image(run_id, picture, key="samples", step=step, synchronous=True)
        self.client.log_image(run_id, result.strip, artifact_file="strip.png")
        curve = _strict({"step": list(steps), **curves})
        self.client.log_text(run_id, json.dumps(curve, indent=1), "curve.json")
        if result.mixing:
            mixing = _strict(result.mixing)
            self.client.log_text(run_id, json.dumps(mixing, indent=1), "mixing.json")

    def log_scalars(self, run_id: str, scalars: dict[str, float]) -> None:
        """Values without a step, as they are found after the run has ended."""
        self._log(run_id, [(name, value, 0) for name, value in scalars.items()])

    def log_files(self, run_id: str, path: Path, place: str) -> None:
        """A file, or all that a folder holds."""
        log = self.client.log_artifact if path.is_file() else self.client.log_artifacts
        log(run_id, str(path), place)

    def log_text(self, run_id: str, text: str, name: str) -> None:
        self.client.log_text(run_id, text, name)

    def finish(self, run_id: str, status: str = "FINISHED", reason: str = "") -> None:
        """End a run; the reason of a failure becomes its tag "error"."""
        if reason:
            self.client.set_tag(run_id, "error", redact(reason)[:4000])
        self.client.set_terminated(run_id, status)

    def curves(self, sweep: str, names: Sequence[str] = CURVES) -> list[Curve]:
        """Every run of a sweep, with its chain curves of these names, as the store holds them."""
        found = []
        for run in self.find(sweep=sweep):
            chain = {
                name: {
                    m.step: m.value
                    for m in self.client.get_metric_history(run.info.run_id, f"chain/{name}")
                }
                for name in names
                if f"chain/{name}" in run.data.metrics
            }
            scalars = {name: value for name, value in run.data.metrics.items() if "/" not in name}
            found.append(
                Curve(
                    run.info.run_id,
                    run.info.status,
                    dict(run.data.tags),
                    dict(run.data.params),
                    scalars,
                    chain,
                )
            )
        return found

    def run(self, run_id: str) -> Any:
        """MLflow's run. Raises ValueError where there is none."""
        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            raise ValueError(
                f"no run {run_id!r} in {redact(self.uri)}: {redact(str(error))}; give the id that "
                "the MLflow UI shows, and --tracking-uri where it is in another store"
            ) from None

    def fetch(self, run_id: str, artifact: str, folder: Path) -> Path:
        """A run's artifact, a file or a folder, copied below `folder`."""
        return Path(self.client.download_artifacts(run_id, artifact, str(folder)))

    def _log(self, run_id: str, rows: list[tuple[str, float, int]]) -> None:
        now = int(1000 * time.time())
        metrics = [entities.Metric(name, value, now, step) for name, value, step in rows]
        for first in range(0, len(metrics), 1000):  # MLflow's limit a call
            self.client.log_batch(run_id, metrics=metrics[first : first + 1000])


def _strict(value: Any) -> Any:
    """The value as every JSON reader takes it: null where a number is not finite."""
    if isinstance(value, dict):
        return {name: _strict(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_answers(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=TIMEOUT_S) as answer:
            answer.read()
    except urllib.error.HTTPError:
        return  # it answers; what it allows shows when the experiment is made
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--tracking-uri {redact(uri)} does not answer: {error}; start the "
            "server or check the address"
        ) from None
