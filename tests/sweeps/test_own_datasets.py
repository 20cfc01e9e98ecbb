"""Studies of datasets that people have: other official sets, arrays, and grey images."""

from pathlib import Path
from typing import Any

import latent_dim
import numpy as np
import pytest
import torch
from contracts.pickles import python2_batch
from numpy.typing import NDArray
from PIL import Image
from running import run

import genae_core as genae
from genae_core import recipes
from genae_core.config.flags import parse_flags
from genae_core.experiment import TrialResult
from genae_core.metrics.classifier_cache import (
    ClassifierCallbacks,
    checked_classifier,
    load_classifier,
)

pytestmark = pytest.mark.slow

FAST = (
    *("--smoke", "--families", "vae", "--latent-dims", "4", "--epochs", "1"),
    *("--precision", "fp32", "--seeds", "0"),
)


def stripes(count: int, side: int, channels: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Images [N, C, H, W] with a bright stripe, and the class: which third it is in."""
    generator = np.random.default_rng(count)
    images = generator.integers(0, 90, (count, channels, side, side), np.uint8)
    labels = [number % 3 for number in range(count)]
    for image, label in zip(images, labels, strict=True):
        third = side // 3
        image[:, label * third : (label + 1) * third] += np.uint8(150)
    return images, labels


def write_cifar10(root: Path, version: str) -> None:
    """Five files of about 40 training images and one of 205 test images."""
    folder = root / f"cifar-10-batches-{version}"
    folder.mkdir()
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        images, labels = stripes(200 + number if name == "test_batch" else 40 + number, 32, 3)
        if version == "py":
            content = python2_batch(images.tobytes(), len(images), 3072, labels)
            (folder / name).write_bytes(content)
        else:
            rows = zip(images, labels, strict=True)
            content = b"".join(bytes((label,)) + image.tobytes() for image, label in rows)
            (folder / f"{name}.bin").write_bytes(content)


def train_here(home: Path, *flags: str) -> tuple[list[str], TrialResult]:
    """What a sweep of these flags does for its first cell, in this process: what it prints until
    its first trial, and that trial."""
    options, _ = parse_flags(latent_dim.Options, [*flags, *FAST])
    recipe = recipes.dataset_recipe(options)
    experiment = recipes.study_experiment(options, "vae", 4, (recipe.chain(),))
    said: list[str] = []
    splits = genae.load_splits(recipe.data, home, say=said.append)
    checked = checked_classifier(
        recipe.classifier,
        data=recipe.data,
        splits=splits,
        folder=home / "classifiers",
        callbacks=ClassifierCallbacks(said.append),
    )
    checked.require_sound()
    said.append(checked.ruler.line)
    classifier = load_classifier(checked.folder)
    return said, genae.run_trial(genae.resolve(experiment, splits), splits, classifier)


@pytest.mark.parametrize("version", ["py", "bin"])
def test_cifar10_in_both_versions(tmp_path: Path, version: str) -> None:
    write_cifar10(tmp_path, version)
    flags = ("--dataset", "cifar10", "--data-root", str(tmp_path), "--net-width", "2")
    said, result = train_here(tmp_path, *flags)
    assert any("preparing cifar10, once: 415 images" in line for line in said)
    assert "accurate on" in said[-1] and "(classes)" in said[-1]
    check_result(result, (3, 32, 32))


def check_result(result: TrialResult, shape: tuple[int, int, int]) -> None:
    """The chain made images of this shape, and every step of it was measured."""
    (chain,) = result.chains
    model: Any = result.model
    assert not result.failed and model.decode(torch.zeros(1, 4)).mean.shape == (1, *shape)
    assert np.isfinite(chain.fcd_val).all() and len(chain.fcd_val) >= 2


def test_a_folder_of_grey_images_of_28_px(tmp_path: Path) -> None:
    images, labels = stripes(300, 28, 1)
    for number, (image, label) in enumerate(zip(images[:, 0], labels, strict=True)):
        folder = tmp_path / "own" / f"third_{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:03}.png")
    flags = ("--dataset", "image_folder", "--data-root", str(tmp_path / "own"))
    done = run(tmp_path, "latent_dim.py", *flags, "--grey", "--size", "28", *FAST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "preparing image_folder, once: 300 images" in done.stdout
    assert "1 trials, 0 failed; 1 finished runs" in done.stdout


@pytest.mark.parametrize("flags", [(), ("--net", "dcgan", "--net-width", "2")])
def test_arrays(tmp_path: Path, flags: tuple[str, ...]) -> None:
    images, labels = stripes(240, 28, 1)
    arrays: dict[str, Any] = {"images": images[:, 0], "labels": np.array(labels)}
    np.savez(tmp_path / "own.npz", **arrays)
    data = ("--dataset", "arrays", "--data-root", str(tmp_path / "own.npz"))
    _, result = train_here(tmp_path, *data, *flags)
    check_result(result, (1, 28, 28))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": np.full((9, 8, 8), 2.0)},
            "pixels must be uint8 of 0..255, bool, or floats in",
        ),
        ({"images": np.full((9, 8), 2)}, "expected images [N, H, W] or [N, H, W, C]"),
        (
            {"images": np.full((9, 8, 8), 9, np.uint8), "labels": np.arange(8)},
            "labels: expected one label for each of the 9 images, got (8,)",
        ),
    ],
)
def test_bad_arrays_are_one_message_before_any_trial(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "own.npz", **arrays)
    data = ("--dataset", "arrays", "--data-root", str(tmp_path / "own.npz"))
    done = run(tmp_path, "latent_dim.py", *data, *FAST)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
