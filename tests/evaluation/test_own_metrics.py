"""Metrics of a user's own: their curves in a trial, and their means over many samples."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from genae_core.config import from_json, identity, register, to_json
from genae_core.data.base import Splits, fingerprint
from genae_core.distributions.rng import Draw
from genae_core.evaluation import own_metrics
from genae_core.evaluation.chain_parts import PortableChain
from genae_core.evaluation.chains import ChainResult, evaluate
from genae_core.evaluation.own_metrics import try_metrics
from genae_core.evaluation.references import ReferenceData
from genae_core.evaluation.streaming import measure
from genae_core.experiment.experiment import Experiment, resolve
from genae_core.experiment.recording import record_chain
from genae_core.experiment.trial import TrialResult, run_trial
from genae_core.metrics.classifier import Classifier
from genae_core.metrics.classifier_features import seeded_indices
from genae_core.metrics.sample_metric import RESERVED, SampleMetric
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.loop import run_chain
from genae_core.testing import tiny
from genae_core.tracking.journal import Journal, read_events
from genae_core.training import checkpoint


@register("test.own.shift")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Shift:
    """The difference of the mean brightness, above a level of one's choice."""

    level: float = 0.0
    name: ClassVar[str] = "shift"
    better: ClassVar[Literal["lower"]] = "lower"

    def measure(self, generated: Tensor, real: Tensor, draw: Draw) -> float:
        assert generated.shape == real.shape and generated.dtype == torch.float32
        assert 0 <= generated.min() and generated.max() <= 1
        return float((generated.mean() - real.mean()).abs()) - self.level


@register("test.own.draws")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Draws:
    """The brightness of an image that is drawn."""

    name: ClassVar[str] = "drawn"
    better: ClassVar[Literal["higher"]] = "higher"

    def measure(self, generated: Tensor, real: Tensor, draw: Draw) -> Tensor:
        return generated[draw.permutation(len(generated))[0]].mean()


@register("test.own.fails")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Fails:
    """The brightness; samples, which are never as bright as real images, make it fail."""

    raises: bool = True
    name: ClassVar[str] = "failing"
    better: ClassVar[Literal["lower"]] = "lower"

    def measure(self, generated: Tensor, real: Tensor, draw: Draw) -> float:
        if generated.amax() == 1:  # real digits have white pixels
            return float(generated.mean())
        if self.raises:
            raise RuntimeError("no white pixel")
        return math.nan


METRICS: tuple[SampleMetric, ...] = (Shift(), Draws())  # type: ignore[assignment]


@pytest.fixture(scope="module")
def splits() -> Splits:
    return tiny.splits()


@pytest.fixture(scope="module")
def classifier(splits: Splits) -> Classifier:
    return tiny.classifier(splits)


@pytest.fixture(scope="module")
def experiment(splits: Splits) -> Experiment:
    return resolve(dataclasses.replace(tiny.experiment(), metrics=METRICS), splits)


@pytest.fixture(scope="module")
def result(experiment: Experiment, splits: Splits, classifier: Classifier) -> TrialResult:
    return run_trial(experiment, splits, classifier)


def brightness(images: Any) -> float:
    return float(np.asarray(images, np.float64).mean() / 255)


def drawn_samples(result: TrialResult, chain: ChainConfig, count: int) -> dict[int, Tensor]:
    samples: dict[int, list[Tensor]] = {step: [] for step in chain.record}
    for record in run_chain(result.model, chain, count):  # type: ignore[arg-type]
        samples[record.step].append(record.chain.mean)
    return {step: torch.cat(parts) for step, parts in samples.items()}


def test_a_curve_is_what_one_computes_by_hand(
    experiment: Experiment, splits: Splits, result: TrialResult
) -> None:
    """Of the second half of the chains and the test images, as the reported FCD."""
    chain, measured = experiment.chains[0], result.chains[0]
    real = brightness(splits.test.images)
    samples = drawn_samples(result, chain, 2 * tiny.HALF)
    by_hand = [abs(float(x[tiny.HALF :].double().mean()) - real) for x in samples.values()]
    curve = measured.metrics["shift"]
    assert curve.values == pytest.approx(by_hand, abs=1e-6) and len(set(by_hand)) == 3
    first = splits.train.images[seeded_indices(tiny.TRAIN, tiny.HALF)]
    assert curve.floor == pytest.approx(abs(brightness(first) - real), abs=1e-6)
    assert curve.failures == {} and measured.failures == []
    summary, best = measured.summary(), int(np.argmin(measured.fcd_val))
    assert summary["shift_step0"] == curve.values[0]
    assert summary["shift_chosen"] == curve.values[best]
    assert summary["shift_floor"] == curve.floor


def test_a_metric_changes_nothing_of_the_trial_and_draws_the_same_again(
    experiment: Experiment, splits: Splits, classifier: Classifier, result: TrialResult
) -> None:
    assert tiny.fingerprint(result) == tiny.fingerprint(tiny.run())
    data = ReferenceData(splits, classifier)
    torch.manual_seed(11)
    for chain in result.chains:
        again = evaluate(result.model, chain.config, data, None, METRICS)
        assert again.metrics == chain.metrics
    # The same draw at each step chooses the same chain.
    samples = drawn_samples(result, experiment.chains[0], 2 * tiny.HALF)
    draw = Draw(0, "metric", "drawn")
    with draw.as_global():
        number = int(draw.permutation(tiny.HALF)[0])
    by_hand = [float(x[tiny.HALF + number].mean()) for x in samples.values()]
    assert result.chains[0].metrics["drawn"].values == by_hand


def test_thresholded_data_are_compared_with_thresholded_samples(
    splits: Splits, classifier: Classifier, result: TrialResult
) -> None:
    chain = result.chains[0].config
    measured = evaluate(
        result.model, chain, ReferenceData(splits, classifier, binarize=True), None, METRICS
    )
    samples = drawn_samples(result, chain, 2 * tiny.HALF)
    white = float((splits.test.images >= 128).mean())
    by_hand = [
        abs(float((x[tiny.HALF :] > 0.5).double().mean()) - white) for x in samples.values()
    ]
    assert measured.metrics["shift"].values == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize(
    ("raises", "reason"), [(True, "RuntimeError: no white pixel"), (False, "measure returned nan")]
)
def test_a_metric_that_fails_loses_only_its_own_values(
    raises: bool, reason: str, splits: Splits, classifier: Classifier, result: TrialResult
) -> None:
    metrics: Any = (Fails(raises=raises), Shift())
    data = ReferenceData(splits, classifier)
    measured = evaluate(result.model, result.chains[0].config, data, None, metrics)
    failing = measured.metrics["failing"]
    assert all(math.isnan(value) for value in failing.values)
    first = splits.train.images[seeded_indices(tiny.TRAIN, tiny.HALF)]
    assert failing.floor == pytest.approx(brightness(first))
    assert measured.failures == [
        f"the metric failing has no value for step 0, step 1, step 3: {reason}"
    ]
    assert measured.metrics["shift"] == result.chains[0].metrics["shift"]
    assert measured.fcd == result.chains[0].fcd
    summary = measured.summary()
    assert "failing_floor" in summary and "shift_step0" in summary
    assert "failing_step0" not in summary and "failing_chosen" not in summary


def test_what_a_run_records_of_a_metric(result: TrialResult, tmp_path: Path) -> None:
    """The curves, beside those of genae; of a metric that failed at a step the other steps."""
    chain = result.chains[0]
    shift = chain.metrics["shift"]._replace(values=[0.5, math.nan, 0.25])
    record_chain(Journal(tmp_path), chain._replace(metrics={"shift": shift}), 1.0)
    events = read_events(tmp_path)
    rows = [row for event in events for row in event.fields.get("rows", [])]
    assert [row[1:] for row in rows if row[0] == "chain/shift"] == [[0.5, 0], [0.25, 3]]
    assert {name for name, *_ in rows} >= {"shift_step0", "shift_floor", "chain/kid", "fcd_best"}
    (curve,) = tmp_path.glob("*/files/curve.json")
    assert json.loads(curve.read_text())["shift"] == [0.5, None, 0.25]


def test_no_metric_can_have_the_name_of_one_of_genaes(result: TrialResult) -> None:
    """Every curve and scalar of a run is reserved, or begins as no metric's name may."""
    chain: ChainResult = result.chains[0]._replace(metrics={})
    names = {*chain.curves, *chain.summary(), "training_seconds", "evaluation_seconds", "step"}
    names = {name for name in names if not name.startswith("fcd") and not name.endswith("_se")}
    assert len(names) > 15 and names <= RESERVED


def test_an_experiment_without_metrics_is_stored_as_before(experiment: Experiment) -> None:
    plain = dataclasses.replace(experiment, metrics=())
    assert "metrics" not in json.loads(to_json(plain)) and "metrics" not in identity(plain)
    assert from_json(to_json(plain)) == plain
    own = dataclasses.replace(experiment, metrics=(Shift(level=0.5),))
    stored = json.loads(to_json(own))
    assert stored["metrics"] == [{"config": "test.own.shift", "level": 0.5}]
    assert from_json(to_json(own)) == own
    assert {**stored, "metrics": None} == {**json.loads(to_json(plain)), "metrics": None}


def test_a_metric_that_fails_is_refused_before_the_training(splits: Splits) -> None:
    @dataclasses.dataclass(frozen=True)
    class Needs:
        """It needs more images than the first attempt has."""

        images: int
        name: ClassVar[str] = "needs"
        better: ClassVar[str] = "lower"

        def measure(self, generated: Tensor, real: Tensor, draw: Draw) -> float:
            sizes.append(len(generated))
            if len(generated) < self.images:
                raise IndexError(f"I need {self.images} images")
            return 1.0

    sizes: list[int] = []

    def check(images: int) -> None:
        metrics: Any = (Needs(images),)
        resolve(dataclasses.replace(tiny.experiment(), metrics=metrics), splits)

    check(10)
    assert sizes == [32]
    check(40)
    assert sizes == [32, 32, 40]
    with pytest.raises(ValueError, match=r"needs has no value.*IndexError: I need 41 images"):
        check(41)


def test_the_cells_of_a_grid_try_a_metric_once(
    splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def count(metric: SampleMetric, *arguments: Any) -> float:
        calls.append(metric.name)
        return 1.0

    monkeypatch.setattr(own_metrics, "measure_or_note", count)
    monkeypatch.setattr(own_metrics, "_TRIED", set())
    known = splits._replace(sha256=fingerprint(splits))
    for _ in range(3):
        try_metrics(METRICS, known, False, 40)
    assert calls == ["shift", "drawn"]
    try_metrics(METRICS, known, True, 40)
    assert len(calls) == 4


def test_parts_that_are_no_metrics_are_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Nameless:
        better: str = "lower"

    for metrics, words in (
        ((Nameless(),), r"Experiment.metrics: Nameless has no measure, name"),
        ((Shift,), r"Experiment.metrics: Shift is a class: write Shift\(...\)"),
        ([Shift()], r"Experiment.metrics must be a tuple"),
        (Shift(), r"metrics must be a tuple"),
        ((brightness,), r"Experiment.metrics: function must be a frozen dataclass"),
    ):
        wrong: Any = metrics
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(tiny.experiment(), metrics=wrong)


def test_a_million_samples_are_measured_in_blocks(
    result: TrialResult, splits: Splits, classifier: Classifier, tmp_path: Path
) -> None:
    """Blocks of as many samples as there are test images, of which the incomplete is left out."""
    chain = ChainConfig(sampler=EncodeDecode(), record=(0, 2), sub_batch=16, batch_norm="running")
    shape = (1, 8, 8)
    config = tiny.experiment().model
    checkpoint.save_model(tmp_path / "model", result.model, config, shape, result.draw)  # type: ignore[arg-type]
    source = PortableChain(*checkpoint.read(tmp_path / "model"), chain)
    data = ReferenceData(splits, classifier)
    metrics: Any = (Shift(), Fails())
    report = measure(source, data, 250, metrics=metrics)
    plain = measure(source, data, 250)
    assert (report.metric_images, plain.metric_images, plain.metric_floors) == (32, 0, {})
    samples = drawn_samples(result, chain, 250)
    test = splits.test.images[seeded_indices(tiny.HALF, 32)]
    for at, other in zip(report.steps, plain.steps, strict=True):
        blocks = [samples[at.step][k : k + 32].double().mean() for k in range(0, 224, 32)]
        by_hand = [abs(float(mean) - brightness(test)) for mean in blocks]
        assert at.metrics["shift"].value == pytest.approx(np.mean(by_hand), abs=1e-6)
        error = np.std(by_hand, ddof=1) / math.sqrt(7)
        assert at.metrics["shift"].error == pytest.approx(error, rel=1e-4)
        assert math.isnan(at.metrics["failing"].value)
        assert at.fcd.value == pytest.approx(other.fcd.value, rel=1e-9) and other.metrics == {}
    train = splits.train.images[seeded_indices(tiny.TRAIN, 32)]
    floor = abs(brightness(train) - brightness(test))
    assert report.metric_floors["shift"] == pytest.approx(floor, abs=1e-6)
    assert report.failures == (
        "the metric failing has no value for step 0, step 2: RuntimeError: no white pixel",
    )
