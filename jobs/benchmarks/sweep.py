"""The suites "overhead" and "scale": what it costs to launch trials, and many trials.

Each arm is a process of its own, because Ray and Tune read their settings when they are imported.
"""

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from .rows import Row

TRIALS = 60  # empty trials in an arm
NODES, CPUS = 16, 2  # the cluster of "scale" on this machine: its nodes, and the CPUs of each
MANY, SLEEP_S = 1000, 10.0
AXIS = 100  # values of the second axis of the grid

JOBS = Path(__file__).resolve().parents[1]


def overhead(repeats: int, trials: int = TRIALS) -> list[Row]:
    """Measure trials_per_s: empty trials in 2 slots, with the Tune settings of genae and with the
    defaults of Tune."""
    rates: dict[str, list[float]] = {"genae": [], "tune": []}
    for _ in range(repeats):
        for arm, measured in rates.items():
            measured.append(trials / _arm(arm, trials)["seconds"])
    ours, theirs = (statistics.median(rates[arm]) for arm in ("genae", "tune"))
    return [
        Row(
            name="trials_per_s",
            value=ours,
            unit="empty trials/s in 2 slots",
            baseline="Tune's defaults",
            baseline_value=theirs,
            ratio=ours / theirs,
        )
    ]


def scale(trials: int = MANY, nodes: int = NODES, sleep: float = SLEEP_S) -> list[Row]:
    """Run trials that sleep on a cluster of several nodes on this machine. The baselines are the
    limits that a sweep must keep."""
    figures = _arm("scale", trials, str(nodes), str(sleep))
    hundred = min(100, trials // 3)
    starts = sorted(figures["starts"])
    early, late = starts[hundred : 2 * hundred], starts[-hundred:]
    pace = (late[-1] - late[0]) / max(early[-1] - early[0], 1e-9)
    slots = nodes * CPUS
    busy = sum(figures["slept"]) / (slots * (max(figures["ends"]) - min(starts)))
    grown = figures["grown"] / 2**20
    kept = float(len(figures["slept"]))

    def row(name: str, value: float, unit: str, asked: str, limit: float, ratio: float) -> Row:
        return Row(
            name=name,
            value=value,
            unit=unit,
            baseline=asked,
            baseline_value=limit,
            ratio=ratio,
        )

    return [
        row("scale_trials_kept", kept, "trials that ended", "all", trials, kept / trials),
        row("scale_driver_growth", grown, "MiB", "200 MiB", 200, 200 / max(grown, 1e-9)),
        row("scale_last_starts", pace, "of an earlier hundred's time", "1.5", 1.5, 1.5 / pace),
        row("scale_busy", busy, "of the workers' time in trials", "0.9", 0.9, busy / 0.9),
    ]


def _arm(*arguments: object) -> Any:
    command = [sys.executable, "-m", "benchmarks.sweep", *map(str, arguments)]
    threads = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        command,
        env={**os.environ, **threads},
        cwd=JOBS,  # the folder of the package
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _genae(trials: int, parallel: int, trainable: Any, folder: Path) -> float:
    """The seconds of a sweep of these trials with the settings of `launch`."""
    from genae_core.sweep.launcher import grid_searcher
    from genae_core.sweep.options import LaunchOptions
    from genae_core.sweep.plan import Plan
    from genae_core.sweep.tune import make_tuner

    # Two axes, because Optuna keeps the values of each axis with each trial.
    grid = [{"row": number // AXIS, "column": number % AXIS} for number in range(trials)]
    plan = Plan(grid, {}, lambda: grid_searcher(grid), trials)
    began = time.monotonic()
    make_tuner(plan, trainable, folder, parallel, LaunchOptions(), None).fit()
    return time.monotonic() - began


def _empty(arm: str, trials: int, folder: Path) -> dict[str, float]:
    def trainable(params: dict[str, Any]) -> None:
        tune.report({"fcd_val": 1.0})

    if arm == "genae":
        import genae_core.sweep.tune  # noqa: F401  which tells Tune before it is imported
    import ray
    from ray import tune

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    if arm == "genae":
        return {"seconds": _genae(trials, 2, trainable, folder)}
    fitted = tune.Tuner(
        trainable,
        param_space={"number": tune.grid_search(list(range(trials)))},
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    began = time.monotonic()
    fitted.fit()
    return {"seconds": time.monotonic() - began}


def _sleeping(trials: int, nodes: int, sleep: float, folder: Path) -> dict[str, Any]:
    def trainable(params: dict[str, Any]) -> None:
        began = time.time()
        time.sleep(sleep)
        with (log / f"{params['row']}-{params['column']}.json").open("w") as file:
            json.dump([began, time.time()], file)
        tune.report({"fcd_val": 1.0})

    import ray
    from ray import tune
    from ray.cluster_utils import Cluster

    import genae_core.sweep.tune  # noqa: F401

    log = folder / "log"
    log.mkdir()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(nodes):
        cluster.add_node(num_cpus=CPUS, object_store_memory=80 * 2**20)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    before = _resident()
    _genae(trials, nodes * CPUS, trainable, folder)
    grown = _resident() - before
    spans = [json.loads(path.read_text()) for path in log.glob("*.json")]
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]
    return {
        "starts": [start for start, _ in spans],
        "ends": [end for _, end in spans],
        "slept": [end - start for start, end in spans],
        "grown": grown,
    }


def _resident() -> int:
    """The memory of this process in bytes."""
    return int(psutil.Process().memory_info().rss)


def main(arm: str, trials: str, *more: str) -> None:
    """Run one arm, and print its figures as JSON."""
    with tempfile.TemporaryDirectory(prefix="genae-benchmark-") as scratch:
        if arm == "scale":
            nodes, sleep = more
            figures: Any = _sleeping(int(trials), int(nodes), float(sleep), Path(scratch))
        else:
            figures = _empty(arm, int(trials), Path(scratch))
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
