"""How the models of a sweep compute: what there is to choose from, and what is chosen."""

import dataclasses
import json
import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from genae_core.data.base import Split
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.distributions.rng import Draw
from genae_core.experiment import least_seconds, measurements, precision, step_timing
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.precision import Timing, compute_choices
from genae_core.experiment.step_timing import time_by_name, time_choices, timing_images
from genae_core.nets import cuda_graphs
from genae_core.nets.base import ComputeConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.sweep import autotune, sweep_folder
from genae_core.sweep.cells import cell_experiment, cell_key
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.runs import run_key
from genae_core.testing import replays, tiny

PLAIN, LAST = ComputeConfig(), ComputeConfig(channels_last=True)
BF16 = ComputeConfig(precision="bf16")


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A few rounds of each measurement, which is kept in a folder of the test."""
    monkeypatch.setattr(least_seconds, "MOST_ROUNDS", 3)
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "home"))


def of_images() -> Experiment:
    small = tiny.experiment()
    model = dataclasses.replace(small.model, net=DCGANConfig(width=2))  # type: ignore[type-var]
    data = ImageFolderConfig(root="nowhere", size=32)
    return dataclasses.replace(small, model=model, data=data)


def test_only_what_can_matter_is_measured() -> None:
    assert compute_choices(tiny.experiment(), "auto", bf16=False) == [PLAIN]
    assert compute_choices(tiny.experiment(), "auto", bf16=True) == [PLAIN, BF16]
    assert compute_choices(tiny.experiment(), "bf16", bf16=True) == [BF16]
    assert compute_choices(of_images(), "auto", bf16=False) == [PLAIN, LAST]
    assert compute_choices(of_images(), "fp32", bf16=True) == [PLAIN]
    both = dataclasses.replace(BF16, channels_last=True)
    assert compute_choices(of_images(), "bf16", bf16=True) == [both]
    assert compute_choices(of_images(), "fp32-channels-last", bf16=True) == [LAST]
    for way in compute_choices(of_images(), "auto", bf16=True):
        assert compute_choices(of_images(), precision.flag_of(way), bf16=True) == [way]
    assert compute_choices(of_images(), "auto", bf16=True) == [PLAIN, LAST, both]


def test_what_the_hardware_cannot_is_refused() -> None:
    with pytest.raises(ValueError, match="does not compute in bfloat16.*got precision='bf16'"):
        compute_choices(tiny.experiment(), "bf16", bf16=False)


def test_the_plain_way_is_left_only_for_what_is_clearly_faster() -> None:
    def chosen(*seconds: float) -> ComputeConfig:
        ways = (PLAIN, LAST, BF16)
        return precision.fastest([Timing(*pair) for pair in zip(ways, seconds, strict=False)])

    assert chosen(1.0) == PLAIN
    assert chosen(1.0, 0.97) == PLAIN
    assert chosen(1.0, 0.9) == LAST
    assert chosen(1.0, 0.9, 0.5) == BF16


def test_each_way_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_timing, "has_bf16", lambda device: True)
    splits = tiny.splits()
    images = timing_images(tiny.experiment(), splits.train)
    assert len(images.images) == 60
    timings = time_choices(tiny.experiment(), images, "auto", gpu=False, threads=1)
    assert [timing.compute for timing in timings] == [PLAIN, BF16]
    assert all(timing.seconds > 0 for timing in timings)


def graphs_of(way: ComputeConfig) -> ComputeConfig:
    return dataclasses.replace(way, cuda_graphs=True)


def test_where_graphs_can_be_each_way_is_tried_with_them() -> None:
    ways = compute_choices(tiny.experiment(), "auto", bf16=True, graphs=True)
    assert ways == [PLAIN, graphs_of(PLAIN), BF16, graphs_of(BF16)]
    assert compute_choices(tiny.experiment(), "fp32", True, graphs=True) == [
        PLAIN,
        graphs_of(PLAIN),
    ]
    falling = dataclasses.replace(tiny.experiment().training, decay="linear")
    never = dataclasses.replace(tiny.experiment(), training=falling)
    assert compute_choices(never, "fp32", True, graphs=True) == [PLAIN]


def recording(monkeypatch: pytest.MonkeyPatch, **options: Any) -> dict[bool, float]:
    """The seconds of plain fp32 and of its graphs, on a CPU that stands in for a GPU."""
    replays.capture_on_cpu(monkeypatch)
    monkeypatch.setattr(step_timing, "can_capture", lambda device: True)
    images = timing_images(tiny.experiment(), tiny.splits().train)
    timings = time_choices(tiny.experiment(), images, "fp32", gpu=False, threads=1, **options)
    return {timing.compute.cuda_graphs: timing.seconds for timing in timings}


def test_graphs_are_measured_beside_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = recording(monkeypatch)
    assert set(timings) == {False, True}
    assert all(0 < seconds < math.inf for seconds in timings.values())
    assert set(recording(monkeypatch, graphs=False)) == {False}


@pytest.mark.parametrize("what", ["losses", "draws", "weights", "fails", "not recorded"])
def test_graphs_that_compute_something_else_are_passed_over(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plainly = step_timing.train_shortly

    def wrong(*arguments: Any, **more: Any) -> step_timing.ShortTraining:
        training = plainly(*arguments, **more)
        if not arguments[2].cuda_graphs:
            return training
        if what == "fails":
            raise RuntimeError("CUDA error: out of memory")
        if what == "not recorded":
            warnings.warn("it waits for the device", cuda_graphs.NotCapturedWarning, stacklevel=1)
        if what == "draws":
            return training._replace(generator=training.generator.flip(0))
        if what == "weights":
            return training._replace(displacement=1.2 * training.displacement)
        point = training.history[0]
        terms = {name: 1.01 * term for name, term in point.terms.items()}
        return training._replace(history=[point._replace(terms=terms), *training.history[1:]])

    monkeypatch.setattr(step_timing, "train_shortly", wrong)
    step = recording(monkeypatch)
    assert step[True] == math.inf > step[False]
    timings = [Timing(PLAIN, step[False]), Timing(graphs_of(PLAIN), step[True])]
    assert precision.fastest(timings) == PLAIN


def test_graphs_are_compared_while_the_device_adds_in_one_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the noise between two plain trainings, which a GAN makes large, would pass for a wrong
    graph."""
    plainly, start = step_timing.train_shortly, step_timing.start_steps
    deterministic: list[bool] = []

    def started(*arguments: Any, **settings: Any) -> Any:
        deterministic.append(torch.backends.cudnn.deterministic)
        return start(*arguments, **settings)

    def noisy(*arguments: Any, **settings: Any) -> step_timing.ShortTraining:
        training = plainly(*arguments, **settings)
        deterministic.append(torch.backends.cudnn.deterministic)
        if deterministic[-1]:
            return training
        return training._replace(displacement=len(deterministic) * training.displacement)

    monkeypatch.setattr(step_timing, "train_shortly", noisy)
    monkeypatch.setattr(step_timing, "start_steps", started)
    assert recording(monkeypatch)[True] < math.inf
    assert deterministic == [True] * 2 + [False] * 2
    assert not torch.backends.cudnn.deterministic


def test_graphs_that_draw_the_same_noise_again_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording whose kernels read the stream where it once stood, while the stream goes on."""
    drawn: dict[tuple[int, ...], Any] = {}
    plainly, normally = step_timing.train_shortly, Draw.normal

    def stale(*arguments: Any, **more: Any) -> step_timing.ShortTraining:
        def same(self: Draw, shape: tuple[int, ...]) -> Any:
            new = normally(self, shape)
            return drawn.setdefault(shape, new) if arguments[2].cuda_graphs else new

        monkeypatch.setattr(Draw, "normal", same)
        return plainly(*arguments, **more)

    monkeypatch.setattr(step_timing, "train_shortly", stale)
    assert recording(monkeypatch)[True] == math.inf


def test_after_a_recording_that_fails_no_way_is_taken_for_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replays.capture_on_cpu(monkeypatch)
    monkeypatch.setattr(step_timing, "can_capture", lambda device: True)
    monkeypatch.setattr(step_timing, "has_bf16", lambda device: True)
    monkeypatch.setattr(cuda_graphs, "capture", lambda *_: 1 / 0)
    images = timing_images(tiny.experiment(), tiny.splits().train)
    timings = time_choices(tiny.experiment(), images, "auto", gpu=False, threads=1)
    assert [timing.compute.cuda_graphs for timing in timings] == [False, True] * 2
    assert [timing.seconds == math.inf for timing in timings] == [False, True] * 2


def test_what_a_measurement_trains_on_is_more_than_what_warms_up() -> None:
    assert step_timing.STEPS > cuda_graphs.WARM_UP_CALLS


def test_images_are_trained_in_each_layout() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 32, 32), np.uint8)
    few = timing_images(of_images(), Split(images, np.zeros(50, np.int64)))
    timings = time_choices(of_images(), few, "auto", gpu=False, threads=1)
    assert [timing.compute for timing in timings][:2] == [PLAIN, LAST]
    assert all(0 < timing.seconds < math.inf for timing in timings)


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One of images, whose measurements say that channels last is twice as fast."""

    def once(
        function: Any,
        known: Any,
        gpu: bool,
        measure: Any,
        *arguments: Any,
        cpus: int,
        gpus: float,
        accelerator_type: str | None,
    ) -> measurements.Measurement:
        assert function is measurements.recall_or_measure and measure is time_by_name
        assert accelerator_type is None and (cpus, gpus) == (2, 0.0)
        return function(known, gpu, lambda *_: {"fp32": 2.0, "fp32-channels-last": 1.0})

    monkeypatch.setattr(autotune.ray_cluster, "call_once", once)
    return SimpleNamespace(cells={"a": of_images()})


def splits_of_images() -> Any:
    train = Split(np.zeros((50, 3, 32, 32), np.uint8), np.zeros(50, np.int64))
    return SimpleNamespace(train=train)


def test_a_sweep_measures_once_and_a_resume_keeps_it(
    sweep: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = LaunchOptions(cpus_per_trial=2)
    chosen = autotune.choose_compute(tmp_path, sweep, splits_of_images(), options)
    assert chosen.compute == LAST and chosen.origin.startswith("measured for this sweep, 20")
    assert "1000.0 ms a step" in capsys.readouterr().out
    (tmp_path / sweep_folder.MANIFEST).write_text(
        json.dumps({"compute": dataclasses.asdict(BF16), "seeds": [], "cells": {}})
    )
    resumed = dataclasses.replace(options, resume=True, name="s")
    assert autotune.choose_compute(tmp_path, sweep, splits_of_images(), resumed) == (BF16, "")
    stored = {"compute": dataclasses.asdict(graphs_of(BF16)), "compute_from": "measured"}
    (tmp_path / sweep_folder.MANIFEST).write_text(json.dumps({**stored, "seeds": [], "cells": {}}))
    kept = autotune.choose_compute(tmp_path, sweep, splits_of_images(), resumed)
    assert kept == (graphs_of(BF16), "measured")
    without = dataclasses.replace(resumed, cuda_graphs=False)
    kept = autotune.choose_compute(tmp_path, sweep, splits_of_images(), without)
    assert kept == (BF16, "measured")


def test_a_measurement_that_fails_stops_no_sweep(
    sweep: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **where: Any) -> None:
        raise RuntimeError("the node has died")

    monkeypatch.setattr(autotune.ray_cluster, "call_once", fails)
    chosen = autotune.choose_compute(tmp_path, sweep, splits_of_images(), LaunchOptions())
    assert chosen == (PLAIN, "the measurement failed")
    assert "warning: the measurement failed" in capsys.readouterr().out
    asked = LaunchOptions(precision="fp32-channels-last", gpus_per_trial=0.25)
    chosen = autotune.choose_compute(tmp_path, sweep, splits_of_images(), asked)
    assert chosen.compute == LAST
    asked = LaunchOptions(precision="fp32-channels-last")
    chosen = autotune.choose_compute(tmp_path, sweep, splits_of_images(), asked)
    assert chosen == (LAST, "as --precision says")


def test_precision_is_not_left_for_what_graphs_alone_gain() -> None:
    ways = (PLAIN, graphs_of(PLAIN), BF16, graphs_of(BF16))
    timings = [Timing(*pair) for pair in zip(ways, (1.0, 0.4, 0.99, 0.399), strict=True)]
    assert precision.fastest(timings) == graphs_of(PLAIN)


def test_a_gpu_is_asked_about_graphs_unless_they_are_refused(
    sweep: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def once(function: Any, known: Any, *arguments: Any, **where: Any) -> Any:
        *_, precision, gpu, _, graphs = arguments
        assert (precision, gpu) == ("fp32", True) and graphs
        seconds = {"fp32": 0.002, "fp32 as CUDA graphs": math.inf}
        return known[0] if known else function(known, False, lambda: seconds)

    monkeypatch.setattr(autotune.ray_cluster, "call_once", once)
    asked = LaunchOptions(precision="fp32", gpus_per_trial=1.0)
    for _ in range(2):  # measured, and read from the file
        chosen = autotune.choose_compute(tmp_path, sweep, splits_of_images(), asked)
        printed = capsys.readouterr().out
        assert chosen.compute == PLAIN
        assert "--precision fp32 as CUDA graphs: fails here, or has another result" in printed
    refused = dataclasses.replace(asked, cuda_graphs=False)
    assert autotune.choose_compute(tmp_path, sweep, splits_of_images(), refused).compute == PLAIN
    assert not capsys.readouterr().out


def test_graphs_make_no_other_run() -> None:
    cell = dataclasses.replace(tiny.experiment(), compute=PLAIN)
    for way in (PLAIN, BF16):
        plain = dataclasses.replace(cell, compute=way)
        other = dataclasses.replace(cell, compute=graphs_of(way))
        assert run_key("s", plain, cell.chains[0]) == run_key("s", other, cell.chains[0])


def test_what_an_experiment_says_is_left_to_it() -> None:
    cells = {
        cell_key({"n": n}): dataclasses.replace(tiny.experiment(), compute=compute)
        for n, compute in enumerate((None, PLAIN, BF16))
    }
    nothing: Any = None
    experiments = [cell_experiment({"n": n}, cells, nothing, LAST) for n in range(3)]
    assert [cell.compute for cell in experiments] == [LAST, PLAIN, BF16]
    keys = [run_key("s", cell, cell.chains[0]) for cell in experiments]
    assert len(set(keys)) == 3
    before = dataclasses.replace(experiments[1], compute=None)
    assert run_key("s", before, before.chains[0]) == keys[1]


def test_a_sweep_from_before_there_was_a_choice_goes_on_plainly(
    sweep: Any, tmp_path: Path
) -> None:
    (tmp_path / sweep_folder.MANIFEST).write_text('{"seeds": [], "cells": {}}')
    options = LaunchOptions(resume=True, name="s")
    kept = autotune.choose_compute(tmp_path, sweep, splits_of_images(), options)
    assert kept == (PLAIN, "")


def test_where_there_is_no_choice_nothing_is_measured(
    sweep: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.cells = {"a": tiny.experiment()}
    if precision.has_bf16():
        pytest.skip("this CPU has bfloat16 to choose")
    chosen = autotune.choose_compute(tmp_path, sweep, tiny.splits(), LaunchOptions())
    assert chosen.compute == PLAIN and capsys.readouterr().out == ""


def test_seeds_are_measured_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    images = timing_images(tiny.experiment(), tiny.splits().train)
    times = step_timing.time_seeds(tiny.experiment(), images, 3, gpu=False, threads=1)
    assert times.keys() == {"in turn", "as one"}
    assert times["in turn"] > 0 and 0 < times["as one"] < math.inf
    monkeypatch.setattr(step_timing, "DEVICE_IS_FULL_S", 0.0)
    times = step_timing.time_seeds(tiny.experiment(), images, 3, gpu=False, threads=1)
    assert times["in turn"] > 0 and times["as one"] == math.inf


@pytest.mark.parametrize(
    ("apart", "stacked", "together"),
    [(2.0, 1.0, True), (2.0, 1.95, False), (2.0, math.inf, False)],
)
def test_seeds_become_one_model_where_that_is_clearly_faster(
    apart: float,
    stacked: float,
    together: bool,
    sweep: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def once(function: Any, known: Any, gpu: bool, measure: Any, *arguments: Any, **_: Any) -> Any:
        cell, _, seeds, *_ = arguments
        assert measure is step_timing.time_seeds and seeds == 4 and cell.compute == LAST
        return function(known, gpu, lambda *_: {"in turn": apart, "as one": stacked})

    monkeypatch.setattr(autotune.ray_cluster, "call_once", once)
    sweep.compute = LAST
    options = LaunchOptions(seeds=(0, 1, 2, 3))
    arguments = (tmp_path, sweep, splits_of_images())
    assert autotune.choose_stacking(*arguments, options) is together
    said = capsys.readouterr().out
    assert f"2000.0 ms in turn, {'' if math.isfinite(stacked) else 'one seed fills'}" in said
    assert f"chosen: {'as one' if together else 'in turn'}" in said
    manifest = json.dumps({"together": not together, "seeds": [], "cells": {}})
    (tmp_path / sweep_folder.MANIFEST).write_text(manifest)
    resumed = dataclasses.replace(options, resume=True, name="s")
    assert autotune.choose_stacking(*arguments, resumed) is not together


def test_what_is_asked_of_the_seeds_is_not_measured(sweep: Any, tmp_path: Path) -> None:
    def chooses(**flags: Any) -> bool:
        options = LaunchOptions(**flags)
        return autotune.choose_stacking(tmp_path, sweep, splits_of_images(), options)

    assert not chooses()  # one seed
    assert chooses(seeds=(0, 1), seeds_together="yes")
    assert not chooses(seeds=(0, 1), seeds_together="no")
    assert not chooses(seeds=(0, 1), gpus_per_trial=0.25)


def sweep_of_pixels(binarize: bool) -> Any:
    cell = SimpleNamespace(data=SimpleNamespace(binarize=binarize))
    return SimpleNamespace(cells={"a": cell})


def place_of(folder: Path, *tags: dict[str, str]) -> Any:
    """The place of a sweep whose runs have these tags."""
    runs = [SimpleNamespace(data=SimpleNamespace(tags=each)) for each in tags]
    tracker = SimpleNamespace(find=lambda sweep: runs if sweep == "s" else [])
    return SimpleNamespace(folder=folder, name="s", tracker=tracker)


@pytest.mark.parametrize(
    ("binarize", "options", "bf16", "expected"),
    [
        (True, LaunchOptions(), True, "bf16"),
        (True, LaunchOptions(precision="bf16"), True, "bf16"),
        (True, LaunchOptions(precision="fp32"), True, "fp32"),
        (True, LaunchOptions(), False, "fp32"),
        (False, LaunchOptions(), True, "fp32"),
        (True, LaunchOptions(gpus_per_trial=1), True, "fp32"),
    ],
)
def test_features_are_in_bf16_where_that_keeps_the_fcds(
    binarize: bool,
    options: LaunchOptions,
    bf16: bool,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(autotune, "has_bf16", lambda: bf16)
    assert (
        autotune.choose_features(place_of(tmp_path), sweep_of_pixels(binarize), options)
        == expected
    )


@pytest.mark.parametrize(
    ("stored", "kept"),
    [({}, "fp32"), ({"features": "bf16"}, "bf16"), ({"features": "fp32"}, "fp32")],
)
def test_a_resumed_sweep_keeps_the_precision_of_its_features(
    stored: dict[str, str], kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sweeps of versions without this choice have none stored, and computed in fp32."""
    (tmp_path / sweep_folder.MANIFEST).write_text(
        json.dumps({"compute": dataclasses.asdict(PLAIN), "seeds": [], "cells": {}, **stored})
    )
    resumed = LaunchOptions(resume=True, name="s")
    for bf16 in (True, False):
        monkeypatch.setattr(autotune, "has_bf16", lambda bf16=bf16: bf16)
        assert autotune.choose_features(place_of(tmp_path), sweep_of_pixels(True), resumed) == kept


@pytest.mark.parametrize(
    ("tags", "kept"),
    [([{}], "fp32"), ([{"features_precision": "bf16"}], "bf16"), ([], "bf16")],
)
def test_a_sweep_whose_manifest_is_lost_is_known_by_its_runs(
    tags: list[dict[str, str]], kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without runs, the sweep has computed nothing, and the choice is free."""
    monkeypatch.setattr(autotune, "has_bf16", lambda: True)
    resumed = LaunchOptions(resume=True, name="s")
    place = place_of(tmp_path, *tags)
    assert autotune.choose_features(place, sweep_of_pixels(True), resumed) == kept
