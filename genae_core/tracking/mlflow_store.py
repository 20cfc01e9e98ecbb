"""The MLflow store of one experiment. The package `tracking` alone imports mlflow.

One MLflow run is one combination of cell, seed and chain config. Every call goes through
MlflowClient with an explicit run id, because the global run of MLflow's fluent API would be shared
by all trials of a process.
"""

import functools
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from genae_core.config.places import local_path, sqlite_path
from genae_core.config.redaction import redact, redact_uri
from genae_core.data import durable
from genae_core.tracking.moved_home import check_place, folder_of_files
from genae_core.tracking.own_metrics import own_metrics_of
from genae_core.tracking.store_check import check_store
from genae_core.tracking.store_creation import make_if_missing, open_alone
from genae_core.tracking.store_errors import MissingRunError, translate_errors
from genae_core.tracking.store_errors import StoreError as StoreError
from genae_core.tracking.store_uri import is_local

if TYPE_CHECKING:
    from mlflow.entities import Run

CHAIN_METRICS = ("fcd_val", "fcd", "fcd_ratio")
IMAGE_KEY = "samples"  # the name of the sample grids in MLflow's image view
# Tags of runs whose seed was trained together with other seeds: the number of these seeds, and
# whether they were one stacked model.
SEEDS_TOGETHER, SEEDS_STACKED = "seeds_together", "seeds_stacked"
PROCESSES = "processes"  # the tag with the number of processes that shared a training
PRECISION = "precision"  # the tag that says how a run's model computes, and why
RULER = "ruler"  # the tag with the line of the classifier's ruler
CLASSIFIER = "classifier"  # the tag with the classifier's name, and whether genae ships it
FEATURES_PRECISION = "features_precision"  # the tag with the precision of its features
CLASSIFIER_RECIPE = "classifier_recipe"  # the tag with the key of the classifier's recipe
CLASSIFIER_SHA256 = "classifier_sha256"  # the tag with the sha256 of the classifier's weights
THUMBNAIL_PX = 256  # the larger side of the copy that MLflow's image grid shows
PARAMS_PER_CALL = 100  # MLflow's limit
METRICS_PER_CALL = 1000  # MLflow's limit


_CLIENTS: dict[str, Any] = {}  # MLflow's client of each store that this process has opened


class StartedRun(NamedTuple):
    """A run that is being written: its id, and its start in milliseconds since 1970."""

    run_id: str
    start: int


class StoredRun(NamedTuple):
    """A run as the store holds it.

    Attributes:
        run_id: MLflow's id of the run.
        status: MLflow's status, such as FINISHED.
        tags: The tags by name.
        params: The params by name.
        scalars: The last value of each metric without a prefix.
        chain: The chain metrics, as {metric: {MCMC step: value}}; and other histories that were
            asked for, under their whole name.
    """

    run_id: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    scalars: dict[str, float]
    chain: dict[str, dict[int, float]]


class _Client:
    """MLflow's client, which raises every error as a StoreError.

    Args:
        uri: The tracking URI.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        with translate_errors(uri):
            make_if_missing(uri, _make_database)
            from mlflow.tracking import MlflowClient  # noqa: PLC0415

            self._client = MlflowClient(uri)
        _CLIENTS[uri] = self._client

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._client, name)
        if not callable(member):
            return member

        @functools.wraps(member)
        def call(*arguments: Any, **named: Any) -> Any:
            with translate_errors(self.uri):
                return member(*arguments, **named)

        return call


class Tracker:
    """Writes and reads the runs of one MLflow experiment.

    Args:
        uri: The tracking URI.
        experiment_id: MLflow's id of the experiment.
    """

    def __init__(self, uri: str, experiment_id: str) -> None:
        self.uri = uri
        self.experiment_id = experiment_id
        self.client = _Client(uri)
        self.artifact_folders: dict[str, Path | None] = {}  # by run id, as far as they are known

    @classmethod
    def create(cls, uri: str, experiment: str, artifacts: Path) -> "Tracker":
        """Open the experiment, and make the database and the experiment if they are missing.

        Several processes may do so at the same time.

        Args:
            uri: The tracking URI.
            experiment: The name of the experiment.
            artifacts: The folder in which a local store keeps files. A server has its own.

        Raises:
            StoreError: The store cannot be opened, or does not answer as MLflow does.
            ValueError: The experiment was deleted, or GENAE_HOME was moved.
        """
        with open_alone(uri):
            client = _Client(uri)
        existing = client.get_experiment_by_name(experiment)
        if existing is None:
            location = local_path(artifacts).as_uri() if is_local(uri) else None
            try:
                experiment_id = client.create_experiment(experiment, location)
            except StoreError:
                existing = client.get_experiment_by_name(experiment)
                if existing is None:
                    raise
                experiment_id = existing.experiment_id  # another launch was faster
        elif existing.lifecycle_stage == "deleted":
            raise ValueError(
                f"the MLflow experiment {experiment!r} was deleted: restore it "
                "with `mlflow experiments restore`, or use another store"
            )
        else:
            check_place(uri, existing.artifact_location)
            experiment_id = existing.experiment_id
        if not experiment_id:
            raise StoreError(_no_answer(uri, "the experiment"))
        return cls(uri, experiment_id)

    def find(self, **tags: str) -> "list[Run]":
        """Return all runs that have these tags, oldest first."""
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        runs: list[Run] = []
        token = None
        while True:
            page: Any = self.client.search_runs(
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
    ) -> StartedRun:
        """Continue the run with this key, or start a new one.

        Args:
            key: What identifies the run. It becomes the tag "key".
            name: The run's name in the UI.
            tags: The tags of a new run.
            params: The params to log. A param that the run has keeps its value, because MLflow
                does not change params.
            time: The start of a new run, in milliseconds since 1970.

        Returns:
            The run's id and its start.
        """
        earlier = self.find(key=key)
        for duplicate in earlier[:-1]:
            self.client.delete_run(duplicate.info.run_id)
        if earlier:
            run = earlier[-1]
            self.client.update_run(run.info.run_id, status="RUNNING")
            if "error" in run.data.tags:
                self.client.delete_tag(run.info.run_id, "error")
        else:
            all_tags = {**tags, "key": key}
            run = self.client.create_run(
                self.experiment_id, start_time=time, run_name=name, tags=all_tags
            )
            if not run.info.run_id:
                raise StoreError(_no_answer(self.uri, "the new run"))
        run_id = str(run.info.run_id)
        missing = [name for name in params if name not in run.data.params]
        param = mlflow_entities().Param
        pairs = [param(name, params[name]) for name in missing]
        for first in range(0, len(pairs), PARAMS_PER_CALL):
            self.client.log_batch(run_id, params=pairs[first : first + PARAMS_PER_CALL])
        stored = self._stored(run_id)
        complete = (
            stored.data.tags.get("key") == key and params.keys() <= stored.data.params.keys()
        )
        self._check(complete, "the params")
        return StartedRun(run_id, int(run.info.start_time))

    def started(self, key: str) -> StartedRun:
        """Find the run with this key.

        Raises:
            MissingRunError: There is none.
        """
        runs = self.find(key=key)
        if not runs:
            deleted = self._deleted(key)
            what = f"its run {deleted[-1].info.run_id} was deleted in" if deleted else "no run in"
            raise MissingRunError(f"{what} {redact_uri(self.uri)}")
        return StartedRun(str(runs[-1].info.run_id), int(runs[-1].info.start_time))

    def restore(self, key: str) -> bool:
        """Restore the deleted run with this key. Returns whether there was one."""
        deleted = self._deleted(key)
        if deleted:
            self.client.restore_run(deleted[-1].info.run_id)
        return bool(deleted)

    def _deleted(self, key: str) -> "list[Run]":
        """The deleted runs with this key, oldest first."""
        return list(
            self.client.search_runs(
                [self.experiment_id],
                f"tags.`key` = '{key}'",
                run_view_type=mlflow_entities().ViewType.DELETED_ONLY,
                order_by=["attributes.start_time ASC"],
            )
        )

    def _stored(self, run_id: str) -> "Run":
        """The run as the store holds it, to compare it with what was sent."""
        run: Run = self.client.get_run(run_id)
        self._check(run.info.run_id == run_id, "the run")
        return run

    def _check(self, stored: bool, what: str) -> None:
        """Raise StoreError if the store has answered that it took something, and lacks it.

        Something between this program and the store may answer every call with success.
        """
        if not stored:
            raise StoreError(_no_answer(self.uri, what))

    def log_metrics(self, run: StartedRun, rows: Sequence[tuple[str, float, int]]) -> None:
        """Log metrics as (name, value, step).

        The time of every value is the start of the run, so that a row that is sent twice is
        stored once. If the value differs between two attempts, as a duration does, MLflow shows
        the larger one.
        """
        metric = mlflow_entities().Metric
        metrics = [metric(name, value, run.start, step) for name, value, step in rows]
        for first in range(0, len(metrics), METRICS_PER_CALL):
            batch = metrics[first : first + METRICS_PER_CALL]
            self.client.log_batch(run.run_id, metrics=batch)
            stored = self._stored(run.run_id).data.to_proto().metrics
            steps = {metric.key: metric.step for metric in stored}
            present = all(steps.get(each.key, each.step - 1) >= each.step for each in batch)
            self._check(present, "the metrics")

    def log_images(self, run: StartedRun, images: NDArray[np.uint8], steps: Sequence[int]) -> None:
        """Log images, uint8 [steps, H, W, 3], for the image grid of MLflow's UI.

        The file names depend only on the run and the step, so that an image that is sent twice is
        stored once. MLflow's own log_image invents a new name at each call, and leaves one of its
        two files behind if it is interrupted between them.
        """
        from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES  # noqa: PLC0415

        with tempfile.TemporaryDirectory() as scratch:
            for image, step in zip(images, steps, strict=True):
                name = f"{IMAGE_KEY}+step+{step}+timestamp+{run.start}+{run.run_id}"
                picture = Image.fromarray(image)
                picture.save(Path(scratch) / f"{name}.png")
                thumbnail = ImageOps.contain(picture, (THUMBNAIL_PX, THUMBNAIL_PX))
                thumbnail.save(Path(scratch) / f"{name}+compressed.webp")
            self.log_files(run.run_id, Path(scratch), "images")
        self.client.set_tag(run.run_id, MLFLOW_LOGGED_IMAGES, True)

    def set_tags(self, run_id: str, tags: dict[str, str]) -> None:
        """Set tags of a run."""
        for name, value in tags.items():
            self.client.set_tag(run_id, name, value)
        self._check(tags.keys() <= self._stored(run_id).data.tags.keys(), "the tags")

    def log_scalars(self, run_id: str, scalars: dict[str, float]) -> None:
        """Log values without a step, with the present time. The run may have ended already."""
        now = int(1000 * time.time())
        metric = mlflow_entities().Metric
        metrics = [metric(name, value, now, 0) for name, value in scalars.items()]
        self.client.log_batch(run_id, metrics=metrics)

    def log_files(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Copy a file, or everything in a folder, into a folder of the run's artifacts.

        If the artifacts are on this machine, the copies are then on the disk, so that the original
        may be deleted and the run may become FINISHED.
        """
        log = self.client.log_artifact if path.is_file() else self.client.log_artifacts
        log(run_id, str(path), folder)
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        base = path.parent if path.is_file() else path
        sizes: dict[str, dict[str, int | None]] = {}  # by folder, then by path
        for file in files:
            place = "/".join([*([folder] if folder else []), file.relative_to(base).as_posix()])
            parent = place.rpartition("/")[0]
            if parent not in sizes:
                listed = self.client.list_artifacts(run_id, parent or None)
                sizes[parent] = {info.path: info.file_size for info in listed}
            size = sizes[parent].get(place, -1)
            self._check(size in (None, file.stat().st_size), f"the file {place}")
        artifacts = self._local_artifacts(run_id)
        if artifacts is not None:
            below = artifacts / (folder or "")
            copies = [below / file.relative_to(base) for file in files]
            # These are RUN_ID/artifacts, in the folder of all runs, which may be new too.
            durable.sync_below(artifacts.parent.parent.parent, copies)

    def _local_artifacts(self, run_id: str) -> Path | None:
        """The folder of a run's artifacts, if it is on this machine."""
        if run_id not in self.artifact_folders:
            path = folder_of_files(str(self.client.get_run(run_id).info.artifact_uri))
            self.artifact_folders[run_id] = path if path is not None and path.is_dir() else None
        return self.artifact_folders[run_id]

    def sync(self) -> None:
        """Wait until everything that was logged to a local database is on the disk.

        SQLite ends a transaction by deleting its rollback journal, and does not wait until the
        deletion is on the disk. After a power cut it could undo the transaction.
        """
        if is_local(self.uri):
            durable.sync_folder(sqlite_path(self.uri).parent)

    def finish(
        self, run_id: str, status: str = "FINISHED", reason: str = "", time: int | None = None
    ) -> None:
        """End a run.

        Args:
            run_id: MLflow's id of the run.
            status: FINISHED, FAILED or KILLED.
            reason: Why the run failed. It becomes the tag "error".
            time: The end, in milliseconds since 1970. The default is now.
        """
        if reason:
            self.client.set_tag(run_id, "error", redact(reason)[:4000])
        self.client.set_terminated(run_id, status, time)
        self._check(self._stored(run_id).info.status == status, "the run's end")

    def close_sweep(self, sweep: str, undelivered: Collection[str] = ()) -> None:
        """Clean up the runs of a sweep whose trials have all ended.

        A run that is still marked as running was interrupted and becomes KILLED. Several runs have
        the same key if the store created a run but its answer was lost. One of them stays.

        Args:
            sweep: The name of the sweep.
            undelivered: The keys of runs with events that still wait for delivery. These runs
                are left alone.
        """
        check_store(self.uri)  # A dead server would be asked for a minute.
        by_key: dict[str, Run] = {}
        runs = [run for run in self.find(sweep=sweep) if run.data.tags["key"] not in undelivered]
        for run in sorted(runs, key=lambda run: run.info.status == "FINISHED"):
            duplicate = by_key.get(run.data.tags["key"])
            if duplicate is not None:
                self.client.delete_run(duplicate.info.run_id)
            by_key[run.data.tags["key"]] = run
        for run in by_key.values():
            if run.info.status == "RUNNING":
                self.finish(run.info.run_id, "KILLED", "the sweep ended before it did")

    def finished_fcds(self, sweep: str) -> dict[str, float]:
        """Return the best validation FCD of each finished run of the sweep, by the run's key."""
        return {
            run.data.tags["key"]: float(run.data.metrics["fcd_val_best"])
            for run in self.find(sweep=sweep)
            if run.info.status == "FINISHED"
        }

    def run_seconds(self, **tags: str) -> list[float]:
        """Return the duration of each finished run with these tags, in seconds.

        The duration of seeds that were trained together is divided by their number.
        """
        return [
            (run.info.end_time - run.info.start_time)
            / (1000 * int(run.data.tags.get(SEEDS_TOGETHER, 1)))
            for run in self.find(**tags)
            if run.info.status == "FINISHED"
        ]

    def read_runs(self, sweep: str, metrics: Sequence[str] | None = None) -> list[StoredRun]:
        """Read every run of a sweep, with its histories of these chain metrics.

        The default is the FCD's, and those of the user's own. A name with a prefix, such as
        train/flow, is that of another metric with a history.
        """
        runs = self.find(sweep=sweep)
        if metrics is None:
            metrics = (*CHAIN_METRICS, *own_metrics_of(run.data.tags for run in runs))
        return [self._read_run(run, metrics) for run in runs]

    def read_seeds(self, run: Any, metrics: Sequence[str] = CHAIN_METRICS) -> list[StoredRun]:
        """Read one of MLflow's runs and those that differ from it at most by their seed."""
        tags = run.data.tags
        setting = {name: tags[name] for name in ("sweep", "cell", "chain") if name in tags}
        others = self.find(sweep=setting.get("sweep", ""))
        seeds = [each for each in others if setting.items() <= each.data.tags.items()]
        return [self._read_run(each, metrics) for each in seeds or [run]]

    def _read_run(self, run: "Run", metrics: Sequence[str]) -> StoredRun:
        info, data = run.info, run.data
        chain = {}
        for name in metrics:
            key = name if "/" in name else f"chain/{name}"
            if key in data.metrics:
                history = self.client.get_metric_history(info.run_id, key)
                chain[name] = {metric.step: metric.value for metric in history}
        scalars = {name: value for name, value in data.metrics.items() if "/" not in name}
        return StoredRun(
            run_id=info.run_id,
            status=info.status,
            tags=dict(data.tags),
            params=dict(data.params),
            scalars=scalars,
            chain=chain,
        )

    def get_run(self, run_id: str) -> Any:
        """Return MLflow's own run object.

        Raises ValueError if there is no run with this id, or if GENAE_HOME was moved.
        """
        try:
            run = self.client.get_run(run_id)
        except StoreError as error:
            if not error.refused:
                raise
            raise ValueError(
                f"no run {run_id!r} in {redact_uri(self.uri)}: {error}; give the id that "
                "the MLflow UI shows, and --tracking-uri if it is in another store"
            ) from None
        check_place(self.uri, run.info.artifact_uri)
        return run

    def fetch(self, run_id: str, artifact: str, folder: Path) -> Path:
        """Copy an artifact of a run, a file or a folder, below `folder`, and return its path."""
        return Path(self.client.download_artifacts(run_id, artifact, str(folder)))


def forget_connections() -> None:
    """Open new connections to all stores from now on.

    A process that was forked calls this, since it must not use those of the other process.
    """
    for client in _CLIENTS.values():
        store = client._tracking_client.store
        for name in ("engine", "read_engine"):  # MLflow itself opens new connections to a server
            if engine := getattr(store, name, None):
                engine.dispose(close=False)


def mlflow_entities() -> ModuleType:
    """MLflow's classes of what is stored.

    MLflow is imported where it is used, because that takes a second, in which a sweep starts Ray
    and a worker begins to train.
    """
    from mlflow import entities  # noqa: PLC0415

    return entities


def _make_database(uri: str) -> None:
    """Make a database with all tables of MLflow, and close it."""
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH  # noqa: PLC0415
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415

    store = SqlAlchemyStore(  # type: ignore[no-untyped-call]
        uri, DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    )
    store.engine.dispose()


def _no_answer(uri: str, what: str) -> str:
    """The message about a server that answers, but not with what it was asked for."""
    return (
        f"the tracking store {redact_uri(uri)} answers, but without {what}: check that the "
        "address is MLflow's, and what stands between"
    )
