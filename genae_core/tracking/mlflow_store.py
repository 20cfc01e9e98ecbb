"""The only importer of mlflow: one run for each (cell, seed, chain setting).

Uses MlflowClient with explicit run ids; the fluent API's global run clashes between trials.
"""

import logging
import os
import re
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves without being asked
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# What is logged waits on disk, so a call that fails need not be tried for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
for _noisy in ("alembic", "mlflow.store.db.utils", "mlflow.utils.uri"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)

import mlflow.entities as entities
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES
from numpy.typing import NDArray
from PIL import Image, ImageOps

TIMEOUT_S = 10
CURVES = ("fcd_val", "fcd", "fcd_ratio")
IMAGES = "samples"  # the key of the grids
SEEDS_TOGETHER = "seeds_together"  # a tag of runs whose seeds were trained as one model: how many
SMALL = 256  # pixels across of the copy that MLflow's grid shows


StoreError = MlflowException  # what a store that cannot be read or written raises


class RunAt(NamedTuple):
    """A run that is written: its id and its start, ms since 1970."""

    run_id: str
    start: int


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
    return re.sub(r"(://[^/@:\s]*):[^/\s]+@", r"\1:***@", text)


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

    def start(
        self, key: str, name: str, tags: dict[str, str], params: dict[str, str], time: int
    ) -> RunAt:
        """The running run under `key`: one that is there goes on, else a new one.

        time: of its start, where it is new, ms since 1970.
        """
        found = self.find(key=key)
        for old in found[:-1]:
            self.client.delete_run(old.info.run_id)
        if found:
            run = found[-1]
            self.client.update_run(run.info.run_id, status="RUNNING")
            if "error" in run.data.tags:
                self.client.delete_tag(run.info.run_id, "error")
        else:
            every = {**tags, "key": key}
            run = self.client.create_run(
                self.experiment_id, start_time=time, run_name=name, tags=every
            )
        pairs = [entities.Param(name, value) for name, value in params.items()]
        for first in range(0, len(pairs), 100):  # MLflow's limit a call
            self.client.log_batch(run.info.run_id, params=pairs[first : first + 100])
        return RunAt(str(run.info.run_id), int(run.info.start_time))

    def log_metrics(self, run: RunAt, rows: Sequence[tuple[str, float, int]]) -> None:
        """(name, value, step), in one call a thousand. Their time is the run's start, so that
        what is logged twice is stored once (of what differs from time to time, as seconds do,
        MLflow shows the largest)."""
        metrics = [entities.Metric(name, value, run.start, step) for name, value, step in rows]
        for first in range(0, len(metrics), 1000):  # MLflow's limit a call
            self.client.log_batch(run.run_id, metrics=metrics[first : first + 1000])

    def log_image(self, run: RunAt, picture: NDArray[np.uint8], step: int) -> None:
        """A picture of the sampling step, uint8 [H, W, 3], for the image grid of MLflow's UI.

        Under names that are the same each time, so that what is logged twice is stored once:
        MLflow's own log_image makes new ones, and cut off between its two files leaves the first.
        """
        name = f"{IMAGES}+step+{step}+timestamp+{run.start}+{run.run_id}"
        image = Image.fromarray(picture)
        with tempfile.TemporaryDirectory() as scratch:
            image.save(Path(scratch) / f"{name}.png")
            small = ImageOps.contain(image, (SMALL, SMALL))
            small.save(Path(scratch) / f"{name}+compressed.webp")
            self.client.log_artifacts(run.run_id, scratch, "images")
        self.client.set_tag(run.run_id, MLFLOW_LOGGED_IMAGES, True)

    def log_scalars(self, run_id: str, scalars: dict[str, float]) -> None:
        """Values without a step, as they are found after the run has ended."""
        now = int(1000 * time.time())
        metrics = [entities.Metric(name, value, now, 0) for name, value in scalars.items()]
        self.client.log_batch(run_id, metrics=metrics)

    def log_files(self, run_id: str, path: Path, place: str | None = None) -> None:
        """A file, or all that a folder holds, below `place`."""
        log = self.client.log_artifact if path.is_file() else self.client.log_artifacts
        log(run_id, str(path), place)

    def finish(
        self, run_id: str, status: str = "FINISHED", reason: str = "", time: int | None = None
    ) -> None:
        """End a run; the reason of a failure becomes its tag "error". time: ms since 1970, default
        now."""
        if reason:
            self.client.set_tag(run_id, "error", redact(reason)[:4000])
        self.client.set_terminated(run_id, status, time)

    def close(self, sweep: str, waiting: Collection[str] = ()) -> None:
        """Once no trial of the sweep runs: what still says so was cut off, and of several runs
        under one key (a store that took a call and never answered) one stays. waiting: keys of
        runs of which something is yet to be delivered, and which are left alone."""
        one: dict[str, entities.Run] = {}
        runs = [run for run in self.find(sweep=sweep) if run.data.tags["key"] not in waiting]
        for run in sorted(runs, key=lambda run: run.info.status == "FINISHED"):
            other = one.get(run.data.tags["key"])
            if other is not None:
                self.client.delete_run(other.info.run_id)
            one[run.data.tags["key"]] = run
        for run in one.values():
            if run.info.status == "RUNNING":
                self.finish(run.info.run_id, "KILLED", "the sweep ended before it did")

    def finished(self, sweep: str) -> dict[str, float]:
        """The best validation FCD of the sweep's finished runs, by their key."""
        return {
            run.data.tags["key"]: float(run.data.metrics["fcd_val_best"])
            for run in self.find(sweep=sweep)
            if run.info.status == "FINISHED"
        }

    def seconds(self, **tags: str) -> list[float]:
        """How long each finished run of this experiment with these tags took; of seeds that were
        trained together, each its part."""
        return [
            (run.info.end_time - run.info.start_time)
            / (1000 * int(run.data.tags.get(SEEDS_TOGETHER, 1)))
            for run in self.find(**tags)
            if run.info.status == "FINISHED"
        ]

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
