"""The power is cut during a trial: what was on the disk is enough to end with the same bits."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from contracts.scripts import ROOT

pytestmark = pytest.mark.faults

SIZE = 512 * 2**20  # bytes of the disk
# Without a sync, the file system would write its changes only after these seconds.
COMMIT_S = 600
CUTS = 8


def _can_mount(folder: Path) -> bool:
    """Whether this process may mount a file as a disk."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        return False
    image = folder / "try"
    with image.open("wb") as file:
        file.truncate(16 * 2**20)
    try:
        _make(image)
        with mounted(image, folder / "tried"):
            return True
    except subprocess.CalledProcessError:
        return False


def _make(image: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    options = f"loop,commit={COMMIT_S},noauto_da_alloc"
    mount = ["mount", "-o", options, str(image), str(place)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def start(disk: Path) -> subprocess.Popen[str]:
    """Start the trial, or continue it, in a process of its own."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "contracts" / "power_cut.py"), str(disk)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result_of(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return out.split("result ")[1].strip()


def copies_while_it_runs(process: subprocess.Popen[str], image: Path) -> list[Path]:
    """Copies of the disk at random times, each as a power cut would leave it."""
    source = random.Random(0)
    copies: list[Path] = []
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "begins"
    while process.poll() is None and len(copies) < 60:
        time.sleep(source.uniform(0.02, 0.25))
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)  # A write that the kernel has begun ends.
        copies.append(image.with_name(f"cut-{len(copies)}"))
        subprocess.run(["cp", "--sparse=always", str(image), str(copies[-1])], check=True)
        process.send_signal(signal.SIGCONT)
    copies.append(image.with_name("cut at the end"))
    subprocess.run(["cp", "--sparse=always", str(image), str(copies[-1])], check=True)
    return copies


def test_what_a_power_cut_leaves_is_continued_to_the_same_bits(tmp_path: Path) -> None:
    if not _can_mount(tmp_path):
        pytest.skip("no real disk can be mounted: it takes root and mkfs.ext4")
    image, place = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(SIZE)
    _make(image)
    with mounted(image, place):
        process = start(place)
        copies = copies_while_it_runs(process, image)
        expected = result_of(process)
    assert len(copies) > CUTS
    chosen = [*random.Random(1).sample(copies[:-1], CUTS - 1), copies[-1]]
    for copy in chosen:
        with mounted(copy, place):
            assert result_of(start(place)) == expected, copy
