"""A small sweep's only trial, on a disk whose power is cut: the process that the test starts.

python power_cut.py DISK    trains, samples, records and delivers, or continues; prints the result
"""

import hashlib
import json
import sys
from pathlib import Path

from contracts.databases import new_store
from contracts.sweeps import make_sweep
from genae_core.data.base import take
from genae_core.data.digits import DigitsConfig
from genae_core.data.load import load_splits
from genae_core.experiment.experiment import resolve
from genae_core.metrics.classifier_cache import cached_classifier, load_classifier
from genae_core.sweep.cells import cell_key
from genae_core.sweep.sweep_folder import deliver
from genae_core.sweep.worker import run_cell
from genae_core.testing import tiny
from genae_core.tracking.mlflow_store import Tracker
from genae_core.training import checkpoint

PARAMS = {"family": "vae", "latent_dim": 2}


def run(disk: Path) -> str:
    """Run the trial with two seeds, and return the sha256 of what the store then holds."""
    if not (disk / "mlflow.db").exists():
        new_store(disk)
    tracker = Tracker.create(f"sqlite:///{disk}/mlflow.db", "study", disk / "artifacts")
    loaded = load_splits(DigitsConfig(), disk, say=lambda _: None)
    parts = (loaded.train, loaded.val, loaded.test)
    sizes = (tiny.TRAIN, tiny.HALF, tiny.HALF)
    train, val, test = (
        take(part, range(size))
        for part, size in zip(parts, sizes, strict=True)  # type: ignore[arg-type]
    )
    splits = loaded._replace(train=train, val=val, test=test)
    experiment = tiny.experiment()
    folder, _ = cached_classifier(
        experiment.classifier, DigitsConfig(), splits, disk / "classifiers"
    )
    cells = {cell_key(PARAMS): resolve(experiment, splits)}
    tags = {"study": "study", "dataset": "digits"}
    sweep = make_sweep(
        tracker, disk / "sweep", cells, "cut", tags, checkpoint_seconds=0, linger=60
    )
    deliver(tracker, disk / "sweep")
    print("begins", flush=True)
    run_cell(PARAMS, sweep, splits, load_classifier(folder), lambda _: None)
    deliver(tracker, disk / "sweep")
    return digest(tracker, "cut")


def digest(tracker: Tracker, sweep: str) -> str:
    """The sha256 of the runs of a sweep: metrics without durations, weights and pictures."""
    runs = {}
    for run in tracker.find(sweep=sweep):
        folder = Path(run.info.artifact_uri.removeprefix("file://"))
        metrics = {k: v for k, v in run.data.metrics.items() if "seconds" not in k}
        files = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file() and "timestamp" not in path.name
        }
        pictures = sorted(
            hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("images/*")
        )
        if (folder / "checkpoint").exists():
            checkpoint.load_model(folder / "checkpoint")
        about = [run.info.status, run.data.tags["seed"], metrics, files, pictures]
        assert run.data.tags["key"] not in runs
        runs[run.data.tags["key"]] = about
    assert {about[0] for about in runs.values()} == {"FINISHED"} and len(runs) == 4, runs
    return hashlib.sha256(json.dumps(runs, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    print("result", run(Path(sys.argv[1])), flush=True)
