"""The suite "tracking": what logging costs a trial, beside plain calls of the MLflow client.

Both log the same to one server on this machine. A trial writes to its journal and continues; the
plain calls wait for the server.
"""

import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

from genae_core.cluster.batch_node import free_port
from genae_core.config import to_strict_json
from genae_core.config.places import sqlite_uri
from genae_core.evaluation.chains import ChainResult
from genae_core.evaluation.image_grids import Picture
from genae_core.experiment.recording import record_chain, record_training
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.sweep.runs import sender_to
from genae_core.tracking.journal import Journal
from genae_core.tracking.mlflow_store import Tracker

from .rows import Row

STEPS, GRIDS = 20, 6  # chain steps of the curve, and image grids
POINTS, TERMS = 40, 4  # points of the training curve, and loss terms of each
TRAINED_S = 100.0  # the training time that the trial logs
SIDE = 8 * 64  # pixels of a side of a grid of eight by eight faces
START_S, DELIVER_S = 120.0, 60.0  # limits for the start of the server and for a delivery


def rows(repeats: int, scratch: Path) -> list[Row]:
    """Measure tracking_trial_s, the seconds of a trial that its logging takes.

    Raises:
        RuntimeError: The server does not start, or the two arms have not stored the same.
    """
    with server(scratch) as uri:
        tracker = Tracker.create(uri, "tracking", scratch)
        seconds: dict[str, list[float]] = {"genae": [], "plain": []}
        for number in range(1 + repeats):
            took = {
                "genae": log_with_journal(tracker, scratch / "journals" / f"{number:032}"),
                "plain": log_with_client(tracker, scratch / f"plain-{number}"),
            }
            if number:  # the first warms up
                for arm, value in took.items():
                    seconds[arm].append(value)
        check(tracker, 1 + repeats)
    ours, plain = (statistics.median(seconds[arm]) for arm in ("genae", "plain"))
    return [
        Row(
            name="tracking_trial_s",
            value=ours,
            unit=f"s of a trial, {GRIDS} grids, {POINTS} x {TERMS} training, {STEPS} steps",
            baseline="MLflow's client, called as it comes",
            baseline_value=plain,
            ratio=plain / ours,
        )
    ]


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run an MLflow server on SQLite on this machine. Yields its address."""
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", sqlite_uri(folder / "mlflow.db")]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    uri, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_S
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            while True:
                with suppress(OSError):
                    urllib.request.urlopen(f"{uri}/health", timeout=5).close()
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"no server: {(folder / 'server.log').read_text()[-2000:]}")
                time.sleep(0.2)
            yield uri
        finally:
            process.terminate()
            process.wait(30)


def result() -> ChainResult:
    """A result of a chain, with random images in its grids."""
    random = np.random.default_rng(0)

    def picture(rows: int, columns: int) -> Picture:
        # As smooth as a face, so that it is compressed about as well.
        coarse = random.integers(0, 256, (rows // 8, columns // 8, 3), np.uint8)
        return np.asarray(Image.fromarray(coarse).resize((columns, rows)))

    record = tuple(range(0, STEPS, -(-STEPS // GRIDS)))[: GRIDS - 1] + (STEPS,)
    curve = [float(value) for value in random.uniform(20, 60, len(record))]
    return ChainResult(
        config=ChainConfig(sampler=EncodeDecode(), record=record),
        fcd_val=curve,
        fcd=curve,
        floor=9.0,
        num_images=5000,
        grids=[picture(SIDE, SIDE) for _ in record],
        sprite=picture(SIDE // 2, SIDE * 2),
        strip=picture(SIDE, SIDE),
    )


CURVE = [("chain/kid", 0.1 / (1 + step), step) for step in range(STEPS)]
HISTORY = [
    (10 * point, {f"term{n}": 1.0 / (1 + point + n) for n in range(TERMS)})
    for point in range(POINTS)
]
PARAMS = {f"model.part{n}": str(n) for n in range(30)}


def log_with_journal(tracker: Tracker, folder: Path) -> float:
    """Log as a trial does. Returns the seconds without those of the delivery."""
    chain, sender = result(), sender_to(tracker.uri, tracker.experiment_id)
    began = time.perf_counter()
    journal = Journal(folder)
    journal.start("trial", {"arm": "genae"}, dict(PARAMS))
    journal.log_text(to_strict_json(PARAMS), "experiment.json")
    sender.add(journal.folder)
    record_training(journal, HISTORY)
    journal.log_metrics(CURVE)
    record_chain(journal, chain, TRAINED_S)
    journal.finish()
    journal.mark_done(min(chain.fcd_val))
    took = time.perf_counter() - began
    if not sender.flush([journal.folder], DELIVER_S):
        raise RuntimeError(f"the server did not take the journal in {DELIVER_S:.0f} s")
    return took


def log_with_client(tracker: Tracker, folder: Path) -> float:
    """Log with one call for each value, image and file. Returns the seconds."""
    chain, client = result(), tracker.client
    folder.mkdir()
    began = time.perf_counter()
    run = client.create_run(tracker.experiment_id, tags={"arm": "plain"}).info.run_id
    for name, text in PARAMS.items():
        client.log_param(run, name, text)
    curves = {"fcd": chain.fcd, "fcd_val": chain.fcd_val}
    curves["fcd_ratio"] = [value / chain.floor for value in chain.fcd]
    for name, value, step in (
        *((f"train/{term}", value, at) for at, terms in HISTORY for term, value in terms.items()),
        *CURVE,
        *(
            (f"chain/{name}", value, step)
            for name, values in curves.items()
            for step, value in zip(chain.config.record, values, strict=True)
        ),
        *((name, value, 0) for name, value in chain.summary().items()),
        ("training_seconds", TRAINED_S, 0),
        ("evaluation_seconds", chain.seconds, 0),
    ):
        client.log_metric(run, name, value, step=step)
    for step, picture in zip(chain.config.record, chain.grids, strict=True):
        client.log_image(run, picture, key="samples", step=step)
    Image.fromarray(chain.strip).save(folder / "strip.png")
    Image.fromarray(chain.sprite).save(folder / "sprite.png")
    (folder / "curve.json").write_text(to_strict_json(curves))
    for file in folder.iterdir():
        client.log_artifact(run, str(file))
    client.set_terminated(run)
    return time.perf_counter() - began


def check(tracker: Tracker, trials: int) -> None:
    """Check that both arms have stored the same numbers of runs and points.

    Raises:
        RuntimeError: They have not.
    """
    for arm in ("genae", "plain"):
        runs = tracker.find(arm=arm)
        points = [
            len(tracker.client.get_metric_history(run.info.run_id, name))
            for run in runs
            for name in run.data.metrics
        ]
        expected = POINTS * TERMS + STEPS + 3 * GRIDS + len(result().summary()) + 2
        if len(runs) != trials or sum(points) != trials * expected:
            raise RuntimeError(
                f"{arm}: {len(runs)} runs with {sum(points)} points in the store, "
                f"not {trials} with {trials * expected}"
            )
