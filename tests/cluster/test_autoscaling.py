"""Ray's own autoscaler under a sweep: it grows, replaces what is lost, and gives all back."""

import json
import os
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from autoscaling import process_nodes
from autoscaling.growing import IDLE_S, WAIT_S, WATCH, Growing, growing
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image

from genae_core.data.shards import read_manifest
from genae_core.data.storage import Folder
from genae_core.training import checkpoint

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[2]
DIMS = ("2", "3", "4")  # of a cell each; two run at a time


@pytest.fixture(scope="module")
def cluster() -> Iterator[Growing]:
    """A head without CPUs, and no node yet."""
    with growing() as made:
        yield made


@contextmanager
def running(
    cluster: Growing, home: Path, script: str, *flags: str
) -> Iterator[subprocess.Popen[str]]:
    """The script, on the cluster's head."""
    with subprocess.Popen(
        cluster.command(str(ROOT / script), "--ray-address", cluster.address, *flags),
        env={**cluster.environment, "GENAE_HOME": str(home), "OMP_NUM_THREADS": "1"},
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # where a check has failed, it still runs


def ended(process: subprocess.Popen[str]) -> str:
    """What it printed, once it has ended well."""
    said, _ = process.communicate(timeout=3 * WAIT_S)
    assert process.returncode == 0, said
    return said


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Until it holds, while the process runs."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(home: Path) -> dict[str, Run]:
    """The sweep's runs by their key, of which each has one."""
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], "tags.sweep = 'grown'")
    by_key = {run.data.tags["key"]: run for run in found}
    assert len(by_key) == len(found)
    return by_key


def dim_of(run: Run) -> str:
    return str(json.loads(run.data.tags["cell"])["latent_dim"])


def trials(cluster: Growing) -> dict[str, str]:
    """The node that each trial runs on, by the latent dimension."""
    found = {}
    for node in process_nodes.started(cluster.folder):
        for process in process_nodes.processes_of(cluster.folder, node):
            if process.command.startswith("ray::ImplicitFunc"):
                place = os.readlink(f"/proc/{process.pid}/cwd")  # Tune names it after the cell
                if f"/{node}/" in place:  # the head is an ancestor of them all
                    found[place.split("latent_dim=")[1].split("_")[0]] = node
    return found


@contextmanager
def following(states: Path) -> Iterator[dict[str, dict[int, int]]]:
    """By the key of each training, every state that it is seen to keep: its number, and the step
    that it stands at."""
    seen: dict[str, dict[int, int]] = defaultdict(dict)
    over = threading.Event()

    def follow() -> None:
        while not over.wait(0.02):
            for path in states.glob("*/state-*"):
                of, number = seen[path.parent.name], int(path.name.removeprefix("state-"))
                if number not in of:
                    with suppress(FileNotFoundError):  # it has made room for another
                        about = json.loads((path / checkpoint.DESCRIPTION).read_text())
                        of[number] = about["step"]

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_a_pending_sweep_grows_the_cluster_which_replaces_a_lost_node_and_shrinks(
    cluster: Growing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--name", "grown", "--families", "aae", "--latent-dims", *DIMS, "--epochs", "40"]
    flags += ["--checkpoint-seconds", "0", "--shared-storage", "--trials-in-parallel", "2"]
    command = ("sweeps/latent_dim.py", "--cpus-per-trial", "1", *flags)
    with (
        running(cluster, tmp_path, *command) as process,
        following(tmp_path / "sweeps" / "grown" / "states") as states,
    ):
        asked = cluster.when("trials that wait for a node", lambda seen: seen.pending > 0)
        joined = [
            cluster.when(f"{count} nodes", lambda seen, count=count: len(seen.alive) == count)
            for count in (1, 2)
        ]
        first = cluster.log[-1].alive
        began = process_nodes.started(cluster.folder)
        assert max(began[name] for name in first) < joined[0]  # both were asked for at once

        def far() -> list[str]:
            return [key for key, of in list(states.items()) if len(of) > 60]

        wait_for(far, process)
        key = far()[0]
        wait_for(lambda: key in runs(tmp_path), process)
        before = runs(tmp_path)[key]
        node = trials(cluster)[dim_of(before)]
        killed = time.time()
        process_nodes.kill(cluster.folder, node)
        time.sleep(0.5)  # no one writes there any more: what is newest is seen
        newest = max(states[key])
        replaced = cluster.when("another node", lambda seen: bool(seen.alive - first), killed)
        said = ended(process)

    assert "3 trials, 0 failed; 3 finished runs" in said
    after = runs(tmp_path)
    assert sorted(dim_of(run) for run in after.values()) == sorted(DIMS)
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert after[key].info.run_id == before.info.run_id
    assert after[key].info.start_time < 1000 * killed < after[key].info.end_time
    later = [step for number, step in states[key].items() if number > newest]
    assert later and min(later) > states[key][newest]  # it did not begin again
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    for run in after.values():
        history = client.get_metric_history(run.info.run_id, "chain/fcd")
        assert sorted(point.step for point in history) == [0, 1, 2, 5, 10]

    last = max(run.info.end_time for run in after.values()) / 1000
    gone = cluster.when("no nodes", lambda seen: not seen.alive, last)
    waits = [at - asked for at in joined]
    with capsys.disabled():
        print(
            f"\nfrom 0 to 2 nodes: joined {waits[0]:.1f} and {waits[1]:.1f} s after trials began "
            f"to wait; a lost one replaced after {replaced - killed:.1f} s; back to 0 "
            f"{gone - last:.1f} s after the last trial, of which {IDLE_S:g} s are to be waited"
        )
    assert max(waits) < 240 and replaced - killed < 240
    assert IDLE_S <= gone - last < IDLE_S + 120


def images(folder: Path) -> Path:
    folder.mkdir()
    for number, pixels in enumerate(
        np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)
    ):
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


@pytest.mark.parametrize("where", ["over the nodes", "on the head"])
def test_a_head_without_cpus_prepares_data(cluster: Growing, tmp_path: Path, where: str) -> None:
    """Over nodes that it asks for, or, where they do not see its disk, by itself."""
    shared = where == "over the nodes"
    cluster.when("no nodes", lambda seen: not seen.alive, time.time())
    began = time.time()
    flags = ["image_folder", "--raw", str(images(tmp_path / "raw")), "--out", "out"]
    flags += ["--shared-storage"] if shared else []
    with running(cluster, tmp_path, "jobs/prepare_data.py", *flags) as process:
        said = ended(process)
    assert "40 files: 30 train, 5 val, 5 test; 0 rejected" in said
    assert read_manifest(Folder(tmp_path / "out")).rows_in == 40
    asked = [name for name, at in process_nodes.started(cluster.folder).items() if at > began]
    assert bool(asked) == shared


def test_whoever_has_no_token_is_refused(cluster: Growing) -> None:
    for environment, refused in ((cluster.stranger, True), (cluster.environment, False)):
        with subprocess.Popen(
            cluster.command(str(WATCH), cluster.address),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            line = process.stdout.readline()
            process.kill()
            assert ("InvalidAuthToken" in process.stderr.read()) == refused
            assert (line == "") == refused
