"""A study of one's own images."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import run

pytestmark = pytest.mark.slow


def test_a_folder_of_mixed_images_is_swept_and_prepared_once(
    tmp_path: Path, run_here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Without classes: the classifier then learns which way up an image is."""
    photos = tmp_path / "photos"
    photos.mkdir()
    noise = np.random.default_rng(0)
    for number in range(48):
        tint = noise.integers(0, 256, (6, 8, 3), np.uint8)
        tint[:3] //= 4  # dark above
        image = Image.fromarray(tint).resize((80 + number, 60 + number))
        image.save(photos / f"{number}.{'png' if number % 2 else 'jpg'}")
    flags = ("--dataset", "image_folder", "--raw", str(photos), "--smoke", "--epochs", "1")
    cells = ("--size", "32", "--families", "vae", "--latent-dims", "4", "--net-width", "4")
    first = run(tmp_path, "latent_dim.py", *flags, *cells)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "preparing image_folder, once: 48 images in 3 shards" in first.stdout
    assert "accurate on held-out images (quarter turns)" in first.stdout
    assert "1 trials, 0 failed; 1 finished runs" in first.stdout
    for precision in ("fp32", "fp32-channels-last"):  # and bf16, where the hardware has it
        assert f"  --precision {precision}: " in first.stdout
    (shards,) = (tmp_path / "shards").glob("image_folder-*[0-9a-f]")
    shutil.rmtree(photos)
    gone = run_here(tmp_path, "latent_dim.py", *flags, *cells)
    assert gone.returncode == 2 and f"there is no folder {photos}" in gone.stderr
    again = run(
        tmp_path, "latent_dim.py", *flags, *cells, "--shards", str(shards), "--precision", "fp32"
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "preparing" not in again.stdout and "training the FCD's" not in again.stdout
