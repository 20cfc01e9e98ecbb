"""The job through its real entry point, over Ray; a killed job goes on when it is restarted."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from contracts import scripts
from contracts.scripts import environment

from genae_core.data.storage import Folder
from genae_core.distributions.rng import Draw
from genae_core.evaluation.chain_parts import read_portable_chain
from genae_core.evaluation.generate import draw_samples, sampling_job
from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.training.checkpoint import save_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (3, 64, 64)
MANY = 6_000  # a large part, and a small one that is ready before it


def command(*flags: str) -> list[str]:
    return [sys.executable, str(ROOT / "jobs" / "sample.py"), *flags]


def job(home: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the job without the time that its imports take."""
    variables = environment(home)
    return scripts.run("jobs/sample.py", *flags, variables=variables, cwd=home)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = VAEConfig(latent_dim=4, net=MLPConfig(widths=(8,)))
    with Draw(0).as_global():
        built = config.build(SHAPE)
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    save_model(folder, built, config, SHAPE, Draw(0))
    return folder


def test_a_killed_job_goes_on_without_duplicates(model: Path, tmp_path: Path) -> None:
    flags = (str(model), "--num-samples", str(MANY), "--steps", "1")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    chain = ChainConfig(sampler=EncodeDecode())
    draw_samples(sampling_job(read_portable_chain(model, chain), 1, Folder(whole)), MANY)
    process = subprocess.Popen(
        command(*flags, "--out", str(cut)),
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list((cut / ".done").glob("part-*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    ready = len(list((cut / ".done").glob("part-*.json")))
    assert 0 < ready and not (cut / ".samples.json").exists()
    again = job(tmp_path, *flags, "--out", str(cut))
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{MANY:,} samples, 0 of them" not in again.stdout
    assert f"{MANY:,} samples after 1 steps" in again.stdout
    files = {p.relative_to(whole) for p in whole.rglob("*.*") if p.is_file()}
    assert files == {p.relative_to(cut) for p in cut.rglob("*.*") if p.is_file()}
    for name in files:
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name


@pytest.mark.parametrize(
    ("source", "flags", "words"),
    [
        (None, {}, "a checkpoint has no recommended step: give --steps"),
        ("0123456789abcdef", {}, "no run '0123456789abcdef'"),
        ("no/where", {"steps": 1}, "there is no folder no/where"),
        (".", {"steps": 1}, "no readable checkpoint"),
    ],
)
def test_bad_input_is_said_and_writes_nothing(
    source: str | None,
    flags: dict[str, Any],
    words: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT / "jobs"))
    sample = importlib.import_module("sample")
    out = tmp_path / "out"
    options = sample.Options(source=source or str(model), out=str(out), **flags)
    with pytest.raises(ValueError, match=words):
        sample.main(options)
    assert not out.exists()


def test_a_wrong_flag_is_one_message_and_exit_2(model: Path, tmp_path: Path) -> None:
    done = job(tmp_path, str(model), "--steps", "-1", "--out", str(tmp_path / "out"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "number of steps must be a whole number >= 0, got steps=-1" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
