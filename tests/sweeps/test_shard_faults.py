"""A shard of prepared data changes under a sweep that streams it. `make test-faults`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 920  # 690 of them to train on, in two row groups, of which the budget holds one
DIMS = ("2", "3", "4")
NAME = "shard"


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "GENAE_HOME": str(home), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one shard of the training images, as jobs/prepare_data.py makes it."""
    root = tmp_path_factory.mktemp("data")
    noise = np.random.default_rng(0).integers(0, 128, (IMAGES, 64, 64, 3), np.uint8)
    for kind in ("dark", "light"):
        (root / "raw" / kind).mkdir(parents=True)
    for number, pixels in enumerate(noise):
        kind, above = ("light", 128) if number % 2 else ("dark", 0)
        Image.fromarray(pixels + np.uint8(above)).save(root / "raw" / kind / f"{number:03}.png")
    command = [sys.executable, str(ROOT / "jobs" / "prepare_data.py"), "image_folder"]
    command += ["--raw", str(root / "raw"), "--out", str(root / "shards")]
    done = subprocess.run(
        command, env=environment(root), cwd=root, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (root / "shards").glob("train-*.parquet")
    assert pq.ParquetFile(path).num_row_groups == 2
    return path


def start(home: Path, shard: Path, *flags: str) -> subprocess.Popen[str]:
    """A sweep of three small cells, one after the other, that streams the training images."""
    command = [sys.executable, str(ROOT / "sweeps" / "latent_dim.py"), "--name", NAME]
    command += ["--dataset", "image_folder", "--shards", str(shard.parent)]
    command += ["--memory-budget", "0.001", "--families", "vae", "--latent-dims", *DIMS]
    command += ["--net-width", "4", "--epochs", "30", "--trials-in-parallel", "1"]
    return subprocess.Popen(
        [*command, "--checkpoint-seconds", "0", *flags],
        env=environment(home),
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], code: int) -> str:
    """What it printed, once it has ended with this exit code."""
    said, _ = process.communicate(timeout=900)
    assert process.returncode == code, said
    return said


def next_training(process: subprocess.Popen[str], home: Path, before: set[str]) -> str:
    """The key of the training that is under way and none of these, once it has kept a state."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        states = (home / "sweeps" / NAME / "states").glob("*/state-*")
        if fresh := {path.parent.name for path in states} - before:
            (key,) = fresh
            return key
        time.sleep(0.02)
    process.kill()
    raise AssertionError(process.communicate()[0])


def flip(shard: Path) -> None:
    """One bit of one pixel in each row group, in place: what a reader without a checksum takes."""
    before = pq.ParquetFile(shard)
    content = bytearray(shard.read_bytes())
    for number in range(before.num_row_groups):
        column = before.metadata.row_group(number).column(0)
        assert column.path_in_schema == "image.list.element"
        content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    pixels = [_pixels(shard)]
    with shard.open("r+b") as file:  # the same file, which a reader has open
        file.write(content)
    pixels.append(_pixels(shard))
    assert np.count_nonzero(pixels[0] != pixels[1]) == before.num_row_groups


def _pixels(shard: Path) -> Any:
    table = pq.read_table(shard, columns=["image"])
    return table.column("image").combine_chunks().to_numpy_ndarray()


def runs(home: Path) -> dict[str, Run]:
    """The sweep's runs by their latent dimension, one a key."""
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("latent_dim")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.sweep = '{NAME}'")
    assert len({run.data.tags["key"] for run in found}) == len(found)
    return {str(json.loads(run.data.tags["cell"])["latent_dim"]): run for run in found}


def test_a_shard_that_changes_fails_who_reads_it_and_no_one_else(
    shard: Path, tmp_path: Path
) -> None:
    """Whether a trial has it open or opens it later; with the shard restored a resume finishes."""
    whole = shard.read_bytes()
    process = start(tmp_path, shard)
    first = next_training(process, tmp_path, set())
    second = next_training(process, tmp_path, {first})
    flip(shard)
    said = ended(process, 1)
    found = runs(tmp_path)
    assert {dim: run.info.status for dim, run in found.items()} == {
        "2": "FINISHED",
        "3": "FAILED",
        "4": "FAILED",
    }, said
    assert found["2"].data.tags["key"] == first and found["3"].data.tags["key"] == second
    assert "they are streamed" in said and "3 trials, 2 failed; 1 finished runs" in said
    for dim in ("3", "4"):
        (reason,) = (
            line for line in said.splitlines() if line.startswith(f"failed: vae latent_dim={dim}:")
        )
        assert str(shard) in reason and "prepare the data again" in reason, reason
        assert str(shard) in found[dim].data.tags["error"]

    refused = ended(start(tmp_path, shard, "--resume"), 2)
    assert f"error: {shard} is not the shard that was written" in refused

    shard.write_bytes(whole)
    said = ended(start(tmp_path, shard, "--resume"), 0)
    assert "3 finished runs" in said
    after = runs(tmp_path)
    for dim in DIMS:
        assert after[dim].info.status == "FINISHED" and "error" not in after[dim].data.tags
        assert after[dim].info.run_id == found[dim].info.run_id
    assert after["2"].info.end_time == found["2"].info.end_time  # it was not run again
