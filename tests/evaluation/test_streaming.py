"""Metrics that are merged from the moments of parts equal those of all samples at once."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genae_core.data.base import Splits, take
from genae_core.data.parts import map_here
from genae_core.distributions.rng import Draw
from genae_core.evaluation.chain_parts import Part, PortableChain
from genae_core.evaluation.references import ReferenceData, fit_gaussian
from genae_core.evaluation.streaming import EvaluationReport, StepMetrics, measure
from genae_core.experiment.experiment import resolve
from genae_core.experiment.trial import run_trial
from genae_core.metrics.classifier import Classifier
from genae_core.metrics.classifier_features import features_of
from genae_core.metrics.classifier_training import train_classifier
from genae_core.metrics.estimate import Estimate
from genae_core.metrics.fcd import Gaussian, frechet_distance
from genae_core.metrics.kid import polynomial_mmd
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.loop import run_chain
from genae_core.samplers.metropolis import Metropolis
from genae_core.samplers.reconstruction import Reconstruction
from genae_core.testing import tiny
from genae_core.training import checkpoint

CHAIN = ChainConfig(sampler=EncodeDecode(), record=(0, 2), sub_batch=16, batch_norm="running")
COUNT = 250


@pytest.fixture(scope="module")
def splits() -> Splits:
    return tiny.splits()


@pytest.fixture(scope="module")
def classifier(splits: Splits) -> Classifier:
    return tiny.classifier(splits)


@pytest.fixture(scope="module")
def data(splits: Splits, classifier: Classifier) -> ReferenceData:
    return ReferenceData(splits, classifier)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PortableChain:
    config, shape = tiny.experiment().model, (1, 8, 8)
    with Draw(0).as_global():
        model = config.build(shape)
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    checkpoint.save_model(folder, model, config, shape, Draw(0))
    return PortableChain(*checkpoint.read(folder), CHAIN)


Measure = Callable[..., EvaluationReport]


@pytest.fixture(scope="module")
def of(source: PortableChain, data: ReferenceData) -> Measure:
    def measure_chain(
        chain: ChainConfig = CHAIN, count: int = COUNT, **settings: Any
    ) -> EvaluationReport:
        return measure(source._replace(chain=chain), data, count, **settings)

    return measure_chain


def backwards(
    function: Callable[..., Any], job: Any, parts: Sequence[Part], start: Any = None
) -> Iterator[Any]:
    return iter(list(map_here(function, job, parts, start))[::-1])


def test_parts_merge_to_what_all_samples_give(
    of: Measure, source: PortableChain, data: ReferenceData
) -> None:
    classifier = data.classifier
    sizes: list[int] = []
    report = of(on_part=sizes.append)
    assert sizes == [16] * 15 + [10]
    model = source.load().model
    test = fit_gaussian(data, data.splits.test, tiny.HALF)
    for at, step in zip(report.steps, CHAIN.record, strict=True):
        features = torch.cat(
            [
                features_of(classifier, r.chain.mean)
                for r in run_chain(model, CHAIN, COUNT)
                if r.step == step
            ]
        )
        whole = Gaussian(6)
        whole.update(features)
        assert at.step == step
        assert at.fcd.value == pytest.approx(frechet_distance(whole, test), rel=1e-6)
        assert 0 < at.fcd.error < at.fcd.value
        with torch.no_grad():
            guesses = classifier.top(features).argmax(1)
        assert at.classes == (torch.bincount(guesses, minlength=10) / COUNT).tolist()
        shares = [p for p in at.classes if p > 0]
        assert at.class_entropy == pytest.approx(-sum(p * math.log(p) for p in shares))
        assert at.accepted is None
    assert (report.num_samples, report.num_real) == (COUNT, tiny.HALF)
    assert 0 < report.floor < report.steps[0].fcd.value


def test_a_kernel_distance_is_the_mean_over_blocks(of: Measure, monkeypatch: Any) -> None:
    distances: list[float] = []
    blocks: list[tuple[int, int]] = []

    def spy(a: Tensor, b: Tensor) -> Tensor:
        blocks.append((len(a), len(b)))
        distances.append(float(polynomial_mmd(a, b)))
        return torch.tensor(distances[-1])

    monkeypatch.setattr("genae_core.evaluation.streaming.polynomial_mmd", spy)
    report = of()
    # A part of 16 samples would be one block; 40 real images in 5 blocks are 8 each.
    assert set(blocks) == {(8, 8)} and len(blocks) == 2 * (15 * 2 + 1)
    # Part by part, of which the last has one block alone, and in each step after step.
    parts = [distances[4 * part : 4 * part + 4] for part in range(16)]
    for number, at in enumerate(report.steps):
        half = [part[number * len(part) // 2 :][: len(part) // 2] for part in parts]
        means = [sum(each) / len(each) for each in half]
        assert at.kid.value == pytest.approx(np.mean(means), rel=1e-5)
        assert at.kid.error == pytest.approx(np.std(means, ddof=1) / 4, rel=1e-5)


@pytest.mark.parametrize("count", [400, 1050, 1399, 1400])
def test_there_is_a_kernel_distance_of_any_number_of_samples(of: Measure, count: int) -> None:
    report = of(dataclasses.replace(CHAIN, sub_batch=50), count)
    assert all(math.isfinite(at.kid.value) and at.kid.error > 0 for at in report.steps)


def test_one_sub_batch_has_values_without_errors(of: Measure) -> None:
    report = of(dataclasses.replace(CHAIN, sub_batch=50), 50)
    for at in report.steps:
        assert math.isfinite(at.kid.value) and math.isfinite(at.fcd.value)
        assert math.isnan(at.kid.error) and math.isnan(at.fcd.error)


def test_the_order_in_which_parts_arrive_changes_no_bit(of: Measure) -> None:
    assert of(mapper=backwards) == of()
    assert of(dataclasses.replace(CHAIN, seed=1)) != of()


@pytest.mark.slow
def test_more_samples_only_narrow_the_error(of: Measure) -> None:
    few, many = of(count=400), of(count=6400)
    for a, b in zip(few.steps, many.steps, strict=True):
        assert b.fcd.error < a.fcd.error and b.kid.error < a.kid.error
        assert abs(a.fcd.value - b.fcd.value) < 5 * a.fcd.error + 0.1 * b.fcd.value


def test_the_share_of_accepted_proposals(of: Measure, source: PortableChain) -> None:
    chain = dataclasses.replace(CHAIN, sampler=Metropolis())
    first, last = of(chain).steps
    model = source.load().model
    shares = [r.chain.accepted for r in run_chain(model, chain, COUNT) if r.step == 2]
    wanted = float(torch.cat([share for share in shares if share is not None]).mean())
    assert first.accepted == 0 and 0 < wanted < 1
    assert last.accepted == pytest.approx(wanted)


@pytest.mark.slow
def test_metropolis_from_the_prior_keeps_its_fcd(splits: Splits, tmp_path: Path) -> None:
    """It stays within the errors; if all proposals are accepted, it is far outside of them."""
    experiment = resolve(tiny.experiment(), splits)
    training = dataclasses.replace(experiment.training, epochs=60)
    better = dataclasses.replace(
        experiment.classifier, channels=(8, 16), training=training, feature_width=10
    )
    classifier = train_classifier(better, splits, False)
    trained = run_trial(dataclasses.replace(experiment, training=training), splits, classifier)
    checkpoint.save_model(
        tmp_path / "model", trained.model, experiment.model, (1, 8, 8), trained.draw
    )
    source = PortableChain(*checkpoint.read(tmp_path / "model"), CHAIN)
    data = ReferenceData(splits, classifier)
    control = dataclasses.replace(CHAIN, sampler=Metropolis(), record=(0, 1, 10), sub_batch=100)
    free = dataclasses.replace(control, sampler=EncodeDecode(decode="sample"))
    corrected, uncorrected = (
        measure(source._replace(chain=chain), data, 8000).steps for chain in (control, free)
    )
    assert corrected[0].fcd == uncorrected[0].fcd

    def away(steps: list[StepMetrics]) -> float:
        errors = math.hypot(steps[0].fcd.error, steps[-1].fcd.error)
        return abs(steps[-1].fcd.value - steps[0].fcd.value) / errors

    assert away(corrected) < 3 and away(corrected[:2]) < 3 and away(uncorrected) > 5
    assert corrected[-1].accepted is not None and 0.1 < corrected[-1].accepted < 0.95


def test_bad_input(of: Measure, splits: Splits) -> None:
    with pytest.raises(ValueError, match=r"on 6 features needs at least 10 samples, got .*=9"):
        of(count=9)
    with pytest.raises(ValueError, match="this chain starts from images"):
        of(dataclasses.replace(CHAIN, sampler=Reconstruction()))


def test_one_test_image_is_too_few(source: PortableChain, data: ReferenceData) -> None:
    splits = data.splits._replace(test=take(data.splits.test, np.arange(1)))
    with pytest.raises(ValueError, match="at least 2 training and 2 test images, got images=1"):
        measure(source, dataclasses.replace(data, splits=splits), COUNT)


def test_the_entropy_of_one_class_is_zero() -> None:
    step = StepMetrics(0, Estimate(1.0, 1.0), Estimate(1.0, 1.0), [0.0, 1.0], None)
    assert f"{step.class_entropy:.3f}" == "0.000"


def test_a_model_of_other_images_is_refused(source: PortableChain, data: ReferenceData) -> None:
    other = source._replace(description={**source.description, "shape": [1, 28, 28]})
    with pytest.raises(ValueError, match=r"must make images of the data's shape, \[1, 8, 8\]"):
        measure(other, data, COUNT)


def test_a_chain_that_diverges_raises(source: PortableChain, data: ReferenceData) -> None:
    broken = {k: v * np.nan if v.is_floating_point() else v for k, v in source.tensors.items()}
    with pytest.raises(FloatingPointError, match="chains are not finite by step 0"):
        measure(source._replace(tensors=broken), data, COUNT)
