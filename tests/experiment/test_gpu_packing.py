"""How many trials a GPU holds: the arithmetic, and which cell is measured."""

import dataclasses
from typing import Any

import pytest

from genae_core.experiment import gpu_packing
from genae_core.experiment.gpu_packing import Peak, gpu_fraction, largest_model
from genae_core.samplers.loop import FEW_STEPS
from genae_core.sweep import autotune, sweep_folder
from genae_core.sweep.options import LaunchOptions
from genae_core.testing import tiny


@pytest.mark.parametrize(
    ("used", "at_most", "expected"),
    [
        (10, 8, 1 / 8),
        (10, 100, 1 / 8),
        (30, 8, 1 / 2),
        (70, 8, 1),  # alone it fits, without the headroom
        (10, 3, 1 / 3),  # no more than the CPUs hold
    ],
)
def test_as_many_as_fit_with_headroom(used: int, at_most: int, expected: float) -> None:
    assert gpu_fraction(Peak(used, 100), at_most) == expected


@pytest.mark.parametrize(("used", "at_most"), [(101, 8), (10, 0)])
def test_where_not_one_fits_it_is_said(used: int, at_most: int) -> None:
    with pytest.raises(ValueError, match="not even one trial fits"):
        gpu_fraction(Peak(used, 100), at_most)


def test_the_largest_model_is_measured() -> None:
    small = tiny.experiment()
    large = dataclasses.replace(small, model=dataclasses.replace(small.model, latent_dim=50))
    assert largest_model([small, large, small], (1, 8, 8)) is large


@pytest.mark.parametrize(
    ("chains", "record", "last"),
    [
        (10_000, (0, 1, 20), 3),  # 20 sub-batches of 500
        (1_000, (0, 100), 26),
        (1_000, (0, 20), 20),  # never recorded, and short
        (500, (0,), 0),
    ],
)
def test_chains_are_as_short_as_takes_their_memory(
    chains: int, record: tuple[int, ...], last: int
) -> None:
    given = tiny.experiment()
    chain = dataclasses.replace(given.chains[0], num_chains=chains, record=record, sub_batch=500)
    few = gpu_packing.shorten(dataclasses.replace(given, chains=(chain,)), 10**6)
    assert few.chains[0].record[-1] == last
    steps, batches = record[-1] * (chains // 500), chains // 500
    assert (last * batches > FEW_STEPS) == (steps > FEW_STEPS)
    assert len(few.chains[0].record) == len(record)
    assert few.training.max_images == gpu_packing.STEPS * given.training.batch_size
    assert few.training.epochs == 1


def test_images_that_a_trial_holds_are_counted() -> None:
    splits, experiment = tiny.splits(), tiny.experiment()
    every = splits.train.images.nbytes  # type: ignore[attr-defined]
    assert gpu_packing.image_bytes(experiment, splits, 10**9) == every
    few = gpu_packing.shorten(experiment, len(splits.train.images))
    held = gpu_packing.image_bytes(few, splits, 10**9)
    assert held == every * few.training.max_images // tiny.TRAIN
    assert gpu_packing.image_bytes(experiment, splits, every) == 0  # they stay on the host


def test_without_a_gpu_the_measurement_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    def fails(*_: Any) -> Peak:
        raise RuntimeError("Found no NVIDIA driver on your system")

    monkeypatch.setattr(autotune.ray_cluster, "call_once", lambda call, *args, **_: call(*args))
    monkeypatch.setattr(autotune, "measure_peak", fails)
    splits: Any = tiny.splits()
    experiment = tiny.experiment()
    sweep: Any = dataclasses.make_dataclass("S", ["cells"])({"a": experiment})
    with pytest.raises(ValueError, match="no NVIDIA driver"):
        autotune.choose_gpu_fraction(
            tmp_path,
            sweep,
            splits,
            tiny.classifier(splits),
            LaunchOptions(gpus_per_trial="auto"),
        )


def test_a_resumed_sweep_keeps_what_was_measured(tmp_path: Any) -> None:
    (tmp_path / sweep_folder.MANIFEST).write_text(
        '{"gpus_per_trial": 0.25, "seeds": [], "cells": {}}'
    )
    options = LaunchOptions(gpus_per_trial="auto", resume=True, name="s")
    nothing: Any = None
    assert autotune.choose_gpu_fraction(tmp_path, nothing, nothing, nothing, options) == 0.25
    assert isinstance(options.gpus, float)
