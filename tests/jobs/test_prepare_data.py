"""The job through its real entry point, over Ray."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from contracts import scripts
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
COUNT = 400


def command(*flags: str) -> list[str]:
    return [sys.executable, str(ROOT / "jobs" / "prepare_data.py"), *flags]


def job(*flags: str) -> subprocess.CompletedProcess[str]:
    """Run the job without the time that its imports take."""
    variables = os.environ
    return scripts.run("jobs/prepare_data.py", *flags, variables=variables, cwd=Path.cwd())


def job_alone(*flags: str) -> subprocess.CompletedProcess[str]:
    """Run the job as a person does."""
    return subprocess.run(
        command(*flags),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, 12, 9, 3), np.uint8)
    for number, pixels in enumerate(noise):
        image = Image.fromarray(pixels).resize((90, 120))
        image.save(root / f"{number:03}.{'png' if number % 3 else 'jpg'}")
    return root


def test_it_tells_of_a_disk_that_refuses_a_worker_and_prepares_once_it_does_not(
    photos: Path, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "out.partial" / "val-00000.parquet"
    in_the_way.mkdir(parents=True)
    flags = ("image_folder", "--raw", str(photos), "--out", str(tmp_path / "out"))
    refused = job(*flags)
    assert refused.returncode == 2
    assert refused.stderr.strip().splitlines()[-1].startswith("error: ")
    assert str(in_the_way) in refused.stderr and "Traceback" not in refused.stderr

    in_the_way.rmdir()
    done = job_alone(*flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{COUNT} files: 300 train, 50 val, 50 test; 0 rejected" in done.stdout
    assert re.search(r"s to start Ray, read [\d.]+, decode [\d.]+, write [\d.]+ s", done.stdout)
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["dataset"] == "image_folder" and manifest["shape"] == [3, 64, 64]

    again = job(*flags)
    assert again.returncode == 0 and "nothing was left to decode" in again.stdout


def test_it_refuses_and_lists_broken_files(photos: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    subprocess.run(["cp", "-r", str(photos), str(broken)], check=True)
    for number in (7, 70, 300):
        (path,) = broken.glob(f"{number:03}.*")
        path.write_bytes(path.read_bytes()[:50])
    flags = ("image_folder", "--raw", str(broken), "--out", str(tmp_path / "other"))
    refused = job(*flags)
    assert refused.returncode == 2
    assert "files are unusable so far, more than --max-rejected 0.001 allows" in refused.stderr
    assert "Traceback" not in refused.stderr
    accepted = job(*flags, "--max-rejected", "0.01")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert "3 rejected" in accepted.stdout
    with (tmp_path / "other" / "_rejected.csv").open() as file:
        names = {row["name"].split(".")[0] for row in csv.DictReader(file)}
    assert names == {"007", "070", "300"}


@pytest.mark.parametrize("dataset", ["arrays", "huggingface"])
def test_own_data_of_other_kinds_is_prepared(dataset: str, tmp_path: Path) -> None:
    raw = tmp_path / "own.npz"
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
    if dataset == "arrays":
        np.savez(raw, images=images, labels=np.arange(40) % 4)
    else:
        raw = tmp_path / "saved"
        features = datasets.Features({"image": datasets.Image()})
        pictures = {"image": [Image.fromarray(image) for image in images]}
        datasets.Dataset.from_dict(pictures, features=features).save_to_disk(raw)
    flags = ("--raw", str(raw), "--out", str(tmp_path / "out"), "--size", "32", "--grey")
    done = job(dataset, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 files: 30 train, 5 val, 5 test; 0 rejected" in done.stdout
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert (manifest["dataset"], manifest["shape"]) == (dataset, [1, 32, 32])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("image_folder", "--raw", "nowhere"), "there is no folder"),
        (("celeba", "--raw", "nowhere"), "/nowhere' is no folder; expected img_align_celeba"),
        (("mnist", "--raw", "nowhere", "--extra"), "--extra is only for svhn"),
        (("svhn", "--raw", "nowhere", "--crop", "0.5"), "--crop is only for celeba"),
        (("mnist", "--raw", "nowhere", "--grey"), "--grey is only for image_folder, arrays"),
        (("kmnist", "--raw", "nowhere"), "/nowhere' is no folder; expected train-images-idx3"),
        (("cifar10", "--raw", "nowhere"), "/nowhere' is no folder; expected data_batch_1"),
        (("arrays", "--raw", "nowhere.npz"), "there is no file"),
        (("huggingface", "--raw", "nowhere"), "is no folder; give the folder that save_to_disk"),
        (("image_folder", "--raw", "nowhere", "--max-rejected", "2"), "--max-rejected must be in"),
        (("image_folder", "--raw", "gopher://x/y"), "expected a local path, s3://BUCKET"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(
    flags: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = job(*flags, "--out", str(tmp_path / "out"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
