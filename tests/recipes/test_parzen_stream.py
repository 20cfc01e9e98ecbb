"""Parzen windows over a stream of samples, and their continuation after a kill."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.recipes import parzen_stream
from genae_core.recipes.parzen_stream import stream_densities

SIZES, SIGMAS = (40, 40, 40, 13), (0.2, 0.5)
IMAGES = Draw(0).uniform((9, 5))


def block(number: int) -> Tensor:
    return Draw(1, "test", number).uniform((SIZES[number], 5))


def killed_in_block_2(number: int) -> Tensor:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return block(number)


def test_the_stream_is_the_mean_of_gaussians(tmp_path: Path) -> None:
    """The value is that of torch's Gaussians in float64 over all samples at once."""
    streamed = stream_densities(block, SIZES, IMAGES, SIGMAS, tmp_path / "a")
    samples = torch.cat([block(number) for number in range(len(SIZES))]).double()
    for row, sigma in enumerate(SIGMAS):
        windows = torch.distributions.Normal(samples, sigma)
        logs = windows.log_prob(IMAGES[:, None].double()).sum(2).logsumexp(1) - math.log(133)
        torch.testing.assert_close(streamed[row], logs, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_killed_stream_ends_with_the_same_bits(tmp_path: Path) -> None:
    script = (
        "import runpy, sys; from pathlib import Path\n"
        "from genae_core.recipes import parzen_stream\n"
        "parzen_stream.SAVE_SECONDS = 0.0\n"
        "test = runpy.run_path(sys.argv[1])\n"
        "parzen_stream.stream_densities(test['killed_in_block_2'], test['SIZES'],"
        " test['IMAGES'], test['SIGMAS'], Path(sys.argv[2]))\n"
    )
    state = tmp_path / "killed"
    arguments = [sys.executable, "-c", script, __file__, str(state)]
    killed = subprocess.run(arguments, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    (path,) = tmp_path.iterdir()
    stored = load_file(path)
    assert (int(stored["blocks"]), int(stored["count"])) == (2, 80)
    drawn: list[int] = []

    def counted(number: int) -> Tensor:
        drawn.append(number)
        return block(number)

    resumed = stream_densities(counted, SIZES, IMAGES, SIGMAS, state)
    assert drawn == [2, 3]
    whole = stream_densities(block, SIZES, IMAGES, SIGMAS, tmp_path / "whole")
    assert torch.equal(resumed, whole)
    # A finished stream is read, and draws nothing.
    assert torch.equal(stream_densities(counted, SIZES, IMAGES, SIGMAS, state), whole)
    assert drawn == [2, 3]


def test_another_question_has_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parzen_stream, "SAVE_SECONDS", 0.0)
    state = tmp_path / "a"
    for sizes, images, sigmas in (
        (SIZES, IMAGES, SIGMAS),
        (SIZES[:3], IMAGES, SIGMAS),
        (SIZES, IMAGES + 0.1, SIGMAS),
        (SIZES, IMAGES, (0.3,)),
    ):
        stream_densities(block, sizes, images, sigmas, state)
    assert len(list(tmp_path.iterdir())) == 4


def test_no_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs samples"):
        stream_densities(block, (), IMAGES, SIGMAS, tmp_path / "a")
