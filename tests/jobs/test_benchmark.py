"""The benchmark door on cases of a moment: its rows, and that it measures what it says."""

import dataclasses
import gc
import importlib
import json
import multiprocessing
import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from contracts.databases import new_store

from genae_core.distributions.rng import Draw
from genae_core.metrics import classifier_training
from genae_core.models.ae import AEConfig
from genae_core.nets.base import ComputeConfig, compute_as
from genae_core.nets.mlp import MLPConfig

pytestmark = pytest.mark.slow

JOBS = Path(__file__).resolve().parents[2] / "jobs"


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(str(JOBS))
    return importlib.import_module("benchmark"), importlib.import_module("benchmarks.chain")


def test_the_chain_suite_and_its_file(
    jobs: tuple[ModuleType, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    door, chain = jobs
    small = chain.CASES["mlp"]._replace(shape=(1, 4, 4), batch=8, steps=2, rounds=1)
    monkeypatch.setattr(chain, "CASES", {"mlp": small})
    monkeypatch.setattr(chain, "peak", lambda steps, device: 1000.0 + steps)
    monkeypatch.setattr(
        chain, "automatic_compute", lambda name, device: ComputeConfig(precision="bf16")
    )
    file = tmp_path / "chain.json"
    assert door.main(door.Options(suite="chain", json=file, repeats=1)) == 0
    report = json.loads(file.read_text())
    speed, auto, memory = report["rows"]
    assert [row["name"] for row in (speed, auto)] == ["chain_mlp", "chain_mlp_auto"]
    assert memory["name"] == "memory_200_vs_5"
    for row in (speed, auto):
        assert row["ratio"] == pytest.approx(row["value"] / row["baseline_value"])
    assert memory["ratio"] == pytest.approx(1005 / 1200)
    assert report["machine"]["threads"] >= 1 and "chain_mlp" in capsys.readouterr().out


def test_arms_are_interleaved_and_the_first_round_warms_up(
    jobs: tuple[ModuleType, ModuleType],
) -> None:
    _, chain = jobs
    called = []

    def arm(name: str, seconds: float) -> None:
        time.sleep(1.0 if len(called) < 2 else seconds)
        called.append(name)

    seconds = chain.time_interleaved(
        {"a": lambda: arm("a", 0.0), "b": lambda: arm("b", 0.02)}, 3, "cpu"
    )
    rounds = ["".join(called[first : first + 2]) for first in range(0, 8, 2)]
    assert set(rounds) == {"ab", "ba"}
    assert seconds["a"] < 0.02 <= seconds["b"] < 1


def test_nine_suites_need_neither_ray_nor_mlflow() -> None:
    refuse = "import sys\nfor name in ('ray', 'mlflow', 'optuna'): sys.modules[name] = None\n"
    suites = (
        "from benchmarks import train, chain, fcd, replicas, precision, evaluation, auto, "
        "contended, classifier"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            refuse + suites,
        ],
        cwd=JOBS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_evaluation_suite_scales_the_training(
    jobs: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 3,000 images in 8 epochs: 120 steps of 25 ms and an evaluation of 1 s."""
    evaluation = importlib.import_module("benchmarks.evaluation")
    recipe_of = evaluation.recipe_of
    monkeypatch.setattr(
        evaluation,
        "recipe_of",
        lambda data: dataclasses.replace(recipe_of(data), record=(0, 1), sub_batch=64),
    )
    monkeypatch.setattr(evaluation, "SIZES", (3_000, 512, 512))
    monkeypatch.setattr(evaluation, "STEPS", 1)
    monkeypatch.setattr(evaluation, "FEATURES", 10)
    monkeypatch.setattr(evaluation, "automatic_compute", lambda name, device: ComputeConfig())
    time_trial, measured = evaluation.time_trial, []

    def timing(*arguments: Any) -> tuple[float, float]:
        measured.append(time_trial(*arguments))
        return 0.025, 1.0

    monkeypatch.setattr(evaluation, "time_trial", timing)
    share, features = evaluation.rows(1, "cpu")
    assert (share.name, features.name) == ("evaluation_share_mnist", "features_mnist")
    assert share.value == pytest.approx(1.0 / (1.0 + 120 * 0.025))
    assert share.ratio == pytest.approx(0.15 / share.value)
    assert features.ratio == pytest.approx(features.value / features.baseline_value)
    assert len(measured) == 2 and all(seconds > 0 for pair in measured for seconds in pair)


def test_the_train_suite_compares_loops_that_do_the_same(
    jobs: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the same weights, on one batch without noise of its own, the plain step and genae's
    follow the same gradient."""
    train = importlib.import_module("benchmarks.train")
    case = train.CASES["adv_ae_mlp"]
    small = case._replace(
        batch=4,
        steps=1,
        images=4,
        model=dataclasses.replace(
            case.model, autoencoder=AEConfig(latent_dim=2, net=MLPConfig(widths=(8,)))
        ),
    )
    models = []
    build = train.build_model
    monkeypatch.setattr(
        train, "build_model", lambda *args: models.append(build(*args)) or models[-1]
    )
    images = train.images_of(small)
    train.genae(small, images, train.PLAIN, "cpu")()
    train.loop(small, images, train.PLAIN, "cpu", fused=False)()
    pairs = [(a.grad, b.grad) for a, b in zip(*(m.parameters() for m in models), strict=True)]
    followed = [(ours, plain) for ours, plain in pairs if plain is not None]
    assert len(followed) == len(list(models[0].autoencoder.parameters()))
    for ours, plain in followed:
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)
    monkeypatch.setattr(train, "CASES", {"small": small})
    monkeypatch.setattr(train, "ROUNDS", 1)
    rows = {row.name: row for row in train.rows(1, "cpu")}
    assert rows.keys() == {"train_small_auto", "train_small_best", "train_small_peak"}
    # 784 x 8, 8 x 2 and back: of each layer one product forwards and two backwards, but for the
    # first, whose input has no gradient; two operations a weight and image.
    layers = [784 * 8, 8 * 2, 2 * 8, 8 * 784]
    assert train.flops(small, images) == 2 * small.batch * (3 * sum(layers) - layers[0])
    assert all(r.ratio == pytest.approx(r.value / r.baseline_value) for r in rows.values())


def test_a_step_captured_by_hand_reads_its_inputs_and_keeps_its_tensors(
    jobs: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph keeps no tensor alive, so a freed weight would be another arm's memory."""
    captured = importlib.import_module("benchmarks.captured")
    replays: list[torch.Tensor] = []

    class Graph:
        def replay(self) -> None:
            replays.append(run.inputs.clone())

    cuda = SimpleNamespace(
        Stream=lambda: SimpleNamespace(wait_stream=lambda _: None),
        current_stream=lambda: SimpleNamespace(wait_stream=lambda _: None),
        stream=lambda _: nullcontext(),
        CUDAGraph=Graph,
        graph=lambda _: nullcontext(),
    )
    monkeypatch.setattr(captured, "torch", SimpleNamespace(cuda=cuda))
    weight = torch.zeros(2)
    alive = weakref.ref(weight)

    def make_step(weight: torch.Tensor) -> Callable[[torch.Tensor], None]:
        def step(x: torch.Tensor) -> None:
            weight.add_(x)

        return step

    run = captured.capture_by_hand(make_step(weight), torch.ones(2))
    del weight
    gc.collect()
    run(torch.full((2,), 5.0))
    assert alive() is not None
    assert [replay.tolist() for replay in replays] == [[5.0, 5.0]]


@pytest.mark.parametrize(
    "name", ["mlp", "aae_mlp", "adv_ae_mlp", "adv_ae_wgan", "dcgan64", "gan_mlp", "wgan_gp_dcgan"]
)
def test_the_work_of_every_case_is_counted(jobs: tuple[ModuleType, ModuleType], name: str) -> None:
    """A round's is its steps'."""
    train = importlib.import_module("benchmarks.train")
    case = train.CASES[name]._replace(batch=2, steps=1)
    images = train.images_of(case._replace(steps=3))
    assert train.flops(case._replace(steps=3), images) == 3 * train.flops(case, images) > 0


def test_the_fcd_suite_compares_the_same_distance(
    jobs: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    fcd = importlib.import_module("benchmarks.fcd")
    monkeypatch.setattr(fcd, "BATCH", 100)
    classifier = fcd.classifier_of("cpu")
    ours, theirs = fcd.ours(classifier, 400, "cpu"), fcd.theirs(classifier, 400, "cpu")
    assert ours == pytest.approx(theirs, rel=1e-3)
    monkeypatch.setattr(fcd, "peak", lambda count, device: float(count))
    monkeypatch.setattr(fcd, "COUNT", 200)
    speed, memory = fcd.rows(1, "cpu")
    assert speed.name == "fcd_10000" and speed.value > 0
    assert memory.ratio == pytest.approx(200 / 200_000)


def gradients(model: Any, compute: ComputeConfig, how: Any) -> torch.Tensor:
    with Draw(0).as_global():
        encoder = model.build((1, 8, 8)).encoder
    compute_as(encoder, compute)
    with how:
        encoder(Draw(1).uniform((64, 1, 8, 8))).square().sum().backward()
    return torch.cat([p.grad.flatten() for p in encoder.parameters()])


@pytest.mark.parametrize("family", ["vae", "daae"])
def test_bf16_is_emulated_as_torch_computes_it(
    jobs: tuple[ModuleType, ModuleType], family: str
) -> None:
    precision, bf16 = (
        importlib.import_module("benchmarks.precision"),
        ComputeConfig(precision="bf16"),
    )
    model = precision.FAMILIES[family]
    own = gradients(model, bf16, nullcontext())
    emulate_bf16 = gradients(model, bf16, precision.emulate_bf16())
    plain = gradients(model, ComputeConfig(), nullcontext())
    assert (emulate_bf16 - own).norm() < 0.2 * (plain - own).norm()
    assert torch.equal(gradients(model, ComputeConfig(), precision.emulate_bf16()), plain)


def test_the_precision_suite_compares_seed_by_seed(
    jobs: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    precision = importlib.import_module("benchmarks.precision")
    trials = []

    def trial(experiment: Any, *_: Any) -> Any:
        trials.append((experiment.seed, experiment.compute.precision, torch.autocast))
        fcd = 10.0 + experiment.seed + (experiment.compute.precision == "bf16")
        return SimpleNamespace(chains=[SimpleNamespace(fcd=[fcd] * 5)], failed={})

    recipe = precision.RECIPE
    short = dataclasses.replace(recipe.training, epochs=1)
    classifier = dataclasses.replace(recipe.classifier, training=short)
    monkeypatch.setattr(precision, "RECIPE", dataclasses.replace(recipe, classifier=classifier))
    monkeypatch.setattr(precision, "run_trial", trial)
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    first, *_ = rows = precision.rows(1, "cpu")
    assert len(rows) == 15 and first.name == "precision_vae_0"
    assert (first.value, first.baseline_value) == (11.5, 10.5)
    assert (
        "emulated; a seed's differs by 1.00 ± 0.00" in first.unit and "2 seeds" in first.baseline
    )
    assert [(seed, p) for seed, p, _ in trials[:4]] == [
        (0, "fp32"),
        (0, "bf16"),
        (1, "fp32"),
        (1, "bf16"),
    ]
    assert [autocast is torch.autocast for *_, autocast in trials[:2]] == [True, False]


def test_the_memory_of_a_chain_is_its_own_process_s(jobs: tuple[ModuleType, ModuleType]) -> None:
    """Images of 3 x 64 x 64 in sub-batches of 100: at least a state of 4.7 MiB."""
    _, chain = jobs
    assert chain.peak(1, "cpu") > 4.7 * 2**20


def test_bad_input(jobs: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    door, _ = jobs
    with pytest.raises(ValueError, match="there is no folder"):
        door.main(door.Options(suite="chain", json=tmp_path / "no" / "x.json"))
    with pytest.raises(ValueError, match="repeats"):
        door.Options(suite="chain", repeats=0)


def test_the_explorer_suite_builds_opens_and_plays(
    jobs: tuple[ModuleType, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("playwright", reason="playwright drives the browser")
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("there is no chromium on the PATH")
    explorer = importlib.import_module("benchmarks.explorer")
    new_store(tmp_path)
    for name, value in {"MANY": 9, "FEW": 3, "LOOKS": 2, "PLAY_MS": 100}.items():
        monkeypatch.setattr(explorer, name, value)
    rows = {row.name: row for row in explorer.rows(1, tmp_path)}
    names = {"build_1000_s", "file_1000_mb", "open_1000_s", "slider_fps", "build_24_s"}
    names |= {"build_10000_s", "file_10000_mb", "open_10000_s", "list_10000_s"}
    assert rows.keys() == names and all(row.value > 0 for row in rows.values())
    assert rows["slider_fps"].ratio == pytest.approx(rows["slider_fps"].value / 50)
    assert rows["open_1000_s"].ratio == pytest.approx(1 / rows["open_1000_s"].value)
    # Of 3 settings with 4, 4 and 1 seeds: 3, 3 and 1 of their samples, and what the median has.
    printed = capsys.readouterr().out
    assert "9 finished runs, 0 without a result, 13 of 27 pictures" in printed
    # Each copy has settings of its own.
    assert "90 finished runs, 0 without a result, 130 of 270 pictures" in printed


def test_the_replicas_suite_trains_every_seed(
    jobs: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = importlib.import_module("benchmarks.replicas")
    small = suite.REPLICATED["mlp"]
    small = small._replace(
        model=dataclasses.replace(small.model, net=MLPConfig(widths=(8,))), batch=4, steps=2
    )
    monkeypatch.setattr(suite, "REPLICATED", {"mlp": small})
    monkeypatch.setattr(suite, "ROUNDS", 1)
    rows = {row.name: row for row in suite.rows(1, "cpu")}
    assert rows.keys() == {"replicas_mlp8", "replicas_mlp8_one"}
    assert all(row.ratio > 0 for row in rows.values())


def test_the_tracking_suite_stores_the_same_by_both_arms(
    jobs: tuple[ModuleType, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = importlib.import_module("benchmarks.tracking")
    new_store(tmp_path)
    monkeypatch.setattr(tracking, "SIDE", 64)
    monkeypatch.setattr(tracking, "POINTS", 2)
    monkeypatch.setattr(tracking, "HISTORY", tracking.HISTORY[:2])
    stores: list[Any] = []
    check = tracking.check

    def checked(tracker: Any, trials: int) -> None:
        check(tracker, trials)
        with pytest.raises(RuntimeError, match=f"genae: {trials} runs .* not {trials + 1}"):
            check(tracker, trials + 1)
        for run in tracker.find(arm="genae"):
            pictures = tracker.client.list_artifacts(run.info.run_id, "images")
            assert len(pictures) == 2 * tracking.GRIDS  # each with its small copy
        stores.append(tracker)

    monkeypatch.setattr(tracking, "check", checked)
    (row,) = tracking.rows(1, tmp_path)
    assert row.name == "tracking_trial_s" and stores
    assert row.ratio == pytest.approx(row.baseline_value / row.value)


def test_the_startup_suite_measures_until_the_first_trial(
    jobs: tuple[ModuleType, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A script that prints what a sweep prints, after a known time."""
    suite = importlib.import_module("benchmarks.startup")
    assert suite.SWEEP.is_file()
    script = tmp_path / "sweep.py"
    script.write_text(
        "import sys, time\n"
        "if '--help' in sys.argv: sys.exit(0)\n"
        "print('starting', flush=True)\n"
        "time.sleep(0.3)\n"
        "print('[ 0/12] running vae', flush=True)\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(suite, "SWEEP", script)
    monkeypatch.setattr(suite, "PLAIN", "print('[0/1] running a task')")
    rows = {row.name: row for row in suite.rows(1, tmp_path)}
    assert list(rows) == ["startup_first_line", "startup_first_trial", "help_cpu"]
    first_line, first_trial = rows["startup_first_line"].value, rows["startup_first_trial"].value
    assert 0 < first_line <= first_trial and first_trial >= 0.3
    assert rows["help_cpu"].value > 0 and rows["help_cpu"].baseline == "the limit, 1"
    monkeypatch.setattr(suite, "PLAIN", "print('error: no')")
    with pytest.raises(RuntimeError, match="ended before a trial ran:\nerror: no"):
        suite.rows(1, tmp_path)


def test_the_auto_suite_counts_the_right_choices(
    jobs: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = importlib.import_module("benchmarks.auto")
    # The second measurement of the first model is disturbed: its plain way seems to be the best.
    seconds = iter([[2.0, 1.0], [2.0, 9.0], [2.1, 1.1], [2.0, 1.0], *[[1.0, 1.05]] * 4])
    monkeypatch.setattr(auto, "seconds_of", lambda case, device: next(seconds))
    busy: list[bool] = []

    def note(runs: bool) -> Any:
        busy.append(runs)
        return nullcontext()

    monkeypatch.setattr(auto, "busy_process", note)
    (row,) = auto.rows(1, "cpu")
    assert (row.name, row.value, row.ratio) == ("auto_stability", 7 / 8, 7 / 8)
    assert "4 of 4 alone, 3 of 4 beside" in row.unit
    assert busy == [False, True] * 4


def test_a_busy_process_ends_with_its_block(jobs: tuple[ModuleType, ModuleType]) -> None:
    busy = importlib.import_module("benchmarks.busy")
    with busy.busy_process(True):
        (process,) = [one for one in multiprocessing.active_children() if one.daemon]
        assert process.is_alive()
    assert not process.is_alive()


def test_the_contended_suite_compares_what_it_says(
    jobs: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    contended = importlib.import_module("benchmarks.contended")
    seconds = {(False, False): 0.1, (False, True): 0.11, (True, False): 2.0, (True, True): 0.16}
    monkeypatch.setattr(contended, "measure", lambda busy, chosen: seconds[busy, chosen])
    ratios = {row.name: row.ratio for row in contended.rows(2)}
    assert ratios == {
        "contended_alone": pytest.approx(0.1 / 0.11),
        "contended": pytest.approx(0.11 / 0.16),
        "contended_default": pytest.approx(2.0 / 0.16),
    }


def test_the_contended_suite_imports_torch_only_where_it_measures() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(JOBS)!r}); from benchmarks import contended\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_classifier_suite_compares_whole_trainings(
    jobs: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ten batches in an epoch: the recipe has twelve epochs, and its quick form ends after the
    first part if it has reached its target."""
    classifier = importlib.import_module("benchmarks.classifier")
    evaluation = importlib.import_module("benchmarks.evaluation")
    for module in (classifier, evaluation):
        monkeypatch.setattr(module, "SIZES", (1_000, 400, 400))
    monkeypatch.setattr(classifier, "choose_precision", lambda *_: "bf16")

    def timing(arms: dict[str, Any], rounds: int, device: str) -> dict[str, float]:
        for arm in arms.values():
            arm()
        return {"former": 0.5, "quick": 0.25}

    monkeypatch.setattr(classifier, "time_interleaved", timing)
    monkeypatch.setattr(classifier, "STEPS", 1)
    (row,) = classifier.rows(1, "cpu", None, tmp_path)
    first = 12 // classifier_training.FIRST_PART
    assert row.name == "classifier_mnist"
    assert (row.value, row.baseline_value) == (0.25 * 10 * first, 0.5 * 10 * 12)
    assert row.ratio == pytest.approx(row.baseline_value / row.value)
    assert "bf16 (scaled)" in row.unit and "accurate" not in row.unit


def test_the_settle_suite_counts_decisions_and_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(JOBS))
    settle = importlib.import_module("benchmarks.settle")
    monkeypatch.setattr(settle, "SWEEPS", 20)
    rows = {row.name: row for row in settle.rows()}
    kinds = ("equal", "unequal", "heavy", "skewed", "steps", "families")
    assert list(rows) == [
        f"settle_{what}_{kind}" for kind in kinds for what in ("right", "trials")
    ]
    for kind in kinds:
        assert rows[f"settle_right_{kind}"].value >= 0.95
        trials = rows[f"settle_trials_{kind}"]
        cells = 4 if kind == "steps" else 16
        assert trials.value >= cells * 3 and trials.baseline_value % cells == 0
        assert trials.ratio == trials.baseline_value / trials.value
