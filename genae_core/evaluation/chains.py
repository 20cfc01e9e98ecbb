"""evaluate(): run a chain over a trained model and measure its samples at each recorded step.

Shapes: N images, F features, D latent dimension, C channels, H rows, W columns.
"""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from genae_core.data.base import Splits
from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw
from genae_core.evaluation.comparison import (
    FEWEST_COMPARED,
    EvaluatedChain,
    GeneratedSet,
    compare,
    draw_real_set,
)
from genae_core.evaluation.diagnostics import Diagnosis, diagnose, project_latents
from genae_core.evaluation.image_grids import Picture, grid, sprite, strip
from genae_core.evaluation.own_metrics import MetricCurve, describe_failures, measure_curves
from genae_core.evaluation.references import (
    ReferenceData,
    References,
    as_data,
    fit_gaussian,
    fit_references,
)
from genae_core.evaluation.step_statistics import StepStatistics
from genae_core.metrics.classifier_features import features_of, seeded_indices
from genae_core.metrics.fcd import Gaussian, Jackknife, frechet_distance, frechet_jackknife
from genae_core.metrics.sample_metric import SampleMetric
from genae_core.models.base import encode_all
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.loop import ChainRecord, run_chain
from genae_core.training.batches import Batches

Item = TypeVar("Item")

STRIP = 10  # chains in a strip
PRIOR_IMAGES = 20_000  # most training images to whose codes a prior is fitted


class ChainResult(NamedTuple):
    """The metrics and pictures of one chain; lists have one value for each recorded step.

    Attributes:
        config: The chain's config.
        fcd_val: The FCD against the validation half.
        fcd: The FCD against the test half.
        floor: The FCD of real training images against the test half.
        num_images: The number of images of each side that an FCD compares.
        grids: The first samples of each step, uint8 [H, W, 3].
        sprite: The first 16 samples of every step in one picture.
        strip: The first chains in one picture, with one column for each step.
        curves: The other metrics by name, and their standard errors as NAME_se (see `metrics/`).
        scalars: Metrics of the model, or of the chain as a whole, by name.
        mixing: Diagnostics by latent dimension or class (see `Diagnosis.parts`).
        latent: The codes and the chains in a plane (see `project_latents`).
        step_seconds: The seconds of one step of all chains.
        seconds: The seconds of the whole evaluation.
        metrics: The user's own metrics by name.
    """

    config: ChainConfig
    fcd_val: list[float]
    fcd: list[float]
    floor: float
    num_images: int
    grids: list[Picture]
    sprite: Picture
    strip: Picture
    curves: dict[str, list[float]] = {}
    scalars: dict[str, float] = {}
    mixing: dict[str, Any] = {}
    latent: dict[str, Any] = {}
    step_seconds: float = 0.0
    seconds: float = 0.0
    metrics: dict[str, MetricCurve] = {}

    @property
    def failures(self) -> list[str]:
        """Where the user's own metrics failed, and why, in sentences."""
        return [
            sentence
            for name, curve in self.metrics.items()
            for sentence in describe_failures(name, curve.failures)
        ]

    def summary(self) -> dict[str, float]:
        """The scalars by name; the best step is chosen on validation and reported on test.

        fcd_recommended_step is the smallest step whose validation FCD is within one standard
        error of the best one. fcd_best_ratio is missing if the floor is 0, which happens with a
        few images on one feature.

        Of a metric of the user's own, NAME_chosen is the value at the best step, and NAME_floor
        the value of real training images. What is not finite is left out.
        """
        best = int(np.argmin(self.fcd_val))
        ratio = {"fcd_best_ratio": self.fcd[best] / self.floor} if self.floor > 0 else {}
        error = self.curves.get("fcd_val_se", [0.0] * len(self.fcd_val))[best]
        limit = self.fcd_val[best] + (0.0 if math.isnan(error) else error)
        first = next(k for k, value in enumerate(self.fcd_val) if value <= limit)
        scalars = dict(self.scalars)
        for name, curve in self.metrics.items():
            scalars[f"{name}_step0"] = curve.values[0]
            scalars[f"{name}_chosen"] = curve.values[best]
            scalars[f"{name}_floor"] = curve.floor
        return {
            **ratio,
            **{name: value for name, value in scalars.items() if math.isfinite(value)},
            "fcd_step0": self.fcd[0],
            "fcd_best": self.fcd[best],
            "fcd_val_best": self.fcd_val[best],
            "fcd_best_step": float(self.config.record[best]),
            "fcd_recommended_step": float(self.config.record[first]),
            "fcd_recommended": self.fcd[first],
            "fcd_floor": self.floor,
            "fcd_images": float(self.num_images),
        }


def evaluate(
    model: nn.Module,
    chain: ChainConfig,
    data: ReferenceData,
    references: References | None = None,
    metrics: Sequence[SampleMetric] = (),
    fitted_prior: Distribution | None = None,
) -> ChainResult:
    """Run a chain over a trained model and compare its samples with the data at recorded steps.

    The first half of the chains is compared with validation images, the second half with test
    images, so that the choice of a step never uses the reported images.

    Args:
        model: The trained model, on the device of `data`.
        chain: The chain's config, with a number of chains.
        data: The data and the classifier to compare with.
        references: Gaussians of half as many real images as there are chains; None fits them.
        metrics: Metrics of your own, of up to 2,000 chains and test images.
        fitted_prior: The chain's fitted prior; None fits one if the config names it.

    Returns:
        The metrics and pictures of every recorded step.

    Raises:
        FloatingPointError: A chain is not finite at a recorded step.
    """
    assert chain.num_chains is not None, "resolve the experiment, or give a number"
    began = time.perf_counter()
    count = chain.num_chains // 2
    if fitted_prior is None:
        fitted_prior = fit_prior(model, chain, data.splits, data.binarize, data.device)
    subject = EvaluatedChain(model, chain, data, fitted_prior)
    references = references or fit_references(data, count)
    width = data.classifier.top.in_features
    steps = {step: StepStatistics(width, count, chain) for step in chain.record}
    watch = Stopwatch()
    for record, features in _run_with_features(subject, 2 * count, watch):
        steps[record.step].add(record, features)
    val = [frechet_jackknife(step.halves[0], references.val) for step in steps.values()]
    test = [frechet_jackknife(step.halves[1], references.test) for step in steps.values()]
    details = _examine(subject, {step: steps[step].generated() for step in steps}, metrics)
    images = torch.stack([torch.cat(step.grid_images) for step in steps.values()])
    return ChainResult(
        config=chain,
        fcd_val=[fcd.value for fcd in val],
        fcd=[fcd.value for fcd in test],
        floor=references.floor,
        num_images=count,
        grids=[grid(step) for step in images],
        sprite=sprite(images),
        strip=strip(images[:, :STRIP], chain.record),
        curves=_fcd_errors(val, test) | details.curves | details.diagnosis.curves,
        scalars=_change_error(val, test) | details.diagnosis.scalars,
        mixing=details.diagnosis.parts,
        latent=details.latent,
        step_seconds=watch.seconds / max(1, chain.record[-1]),
        metrics=details.own,
        seconds=time.perf_counter() - began,
    )


def _fcd_errors(val: list[Jackknife], test: list[Jackknife]) -> dict[str, list[float]]:
    """The standard errors of the FCDs at each step."""
    return {
        "fcd_val_se": [fcd.estimate().error for fcd in val],
        "fcd_se": [fcd.estimate().error for fcd in test],
    }


def _change_error(val: list[Jackknife], test: list[Jackknife]) -> dict[str, float]:
    """The standard error of the FCD at the best step less that at step 0, over blocks of chains.

    The same chains are at both steps, so that what they share cancels.
    """
    best = min(range(len(val)), key=lambda k: val[k].value)
    return {"fcd_change_se": test[best].minus(test[0]).error}


class _Details(NamedTuple):
    """The metrics that need the samples themselves, by name; `latent` as in `ChainResult`.

    own: The user's own metrics.
    """

    curves: dict[str, list[float]]
    diagnosis: Diagnosis
    latent: dict[str, Any]
    own: dict[str, MetricCurve]


def _examine(
    subject: EvaluatedChain,
    generated: dict[int, GeneratedSet],
    metrics: Sequence[SampleMetric],
) -> _Details:
    """Compare the samples of each step with real images, and diagnose the chain.

    If there are only a few samples, only the user's own metrics are measured.
    """
    samples = {step: part.test for step, part in generated.items()}
    own = measure_curves(metrics, samples, subject.data, subject.chain.seed)
    if len(samples[0]) < FEWEST_COMPARED:
        return _Details({}, Diagnosis({}, {}, {}), {}, own)
    real = draw_real_set(subject)
    compared = [compare(step, real, subject.chain.coupled) for step in generated.values()]
    curves = {}
    for name in compared[0]:
        curves[name] = [step[name].value for step in compared]
        curves[f"{name}_se"] = [step[name].error for step in compared]
    latent = {}
    if real.codes is not None:
        latent = project_latents(real.codes, {step: part.z for step, part in generated.items()})
    return _Details(curves, diagnose(subject, real), latent, own)


def validation_fcd(
    model: nn.Module, chain: ChainConfig, data: ReferenceData, samples: int = 2_000
) -> float:
    """The lowest FCD over the recorded steps, which a search uses while a model trains.

    Args:
        model: The model, on the device of `data`.
        chain: The chain's config, whose number of chains is not used.
        data: The data and the classifier to compare with.
        samples: The number of chains, and of the validation images that they are compared with.
            There are never more than the validation images.

    Returns:
        The FCD of the best recorded step.

    Raises:
        FloatingPointError: A chain is not finite at a recorded step.
    """
    count = min(samples, len(data.splits.val.images))
    real = fit_gaussian(data, data.splits.val, count)
    steps = {step: Gaussian(data.classifier.top.in_features) for step in chain.record}
    prior = fit_prior(model, chain, data.splits, binarize=data.binarize, device=data.device)
    subject = EvaluatedChain(model, chain, data, prior)
    for record, features in _run_with_features(subject, count, Stopwatch()):
        steps[record.step].update(features)
    return min(frechet_distance(gaussian, real) for gaussian in steps.values())


def fit_prior(
    model: Any,
    chain: ChainConfig,
    splits: Splits,
    binarize: bool,
    device: torch.device | str,
) -> Distribution | None:
    """Fit the chain's prior to the model's codes of the first training images.

    Args:
        model: The trained model, on the device.
        chain: The chain's config, which may name a prior to fit.
        splits: The dataset; up to 20,000 training images are encoded.
        binarize: Whether the model sees pixels thresholded at one half.
        device: The device of the model.

    Returns:
        The fitted prior, or None if the config names none.
    """
    if chain.fitted_prior is None:
        return None
    count = min(PRIOR_IMAGES, len(splits.train.images))
    examples = Batches(splits.train, count, binarize, torch.device(device)).examples()
    return chain.fitted_prior.fit(encode_all(model, examples), Draw(chain.seed, "law"))


class Stopwatch:
    """Adds up the seconds in which an iterator makes its items, but not those of the loop body."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def measure(self, items: Iterator[Item]) -> Iterator[Item]:
        """Yield the items, and add the seconds that each took."""
        while True:
            began = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - began
            yield item


def _run_with_features(
    subject: EvaluatedChain, num_chains: int, watch: Stopwatch
) -> Iterator[tuple[ChainRecord, Tensor]]:
    """Run the chains; yield each record with the classifier features of its images."""
    model, chain, data, fitted_prior = subject
    images = None
    if chain.sampler.starts_from == "images":
        train = data.splits.train
        index = seeded_indices(len(train.images), chain.round_up(num_chains))
        images = data.pixels(train, index)
    records = run_chain(model, chain, num_chains, start=images, fitted_prior=fitted_prior)
    for record in watch.measure(records):
        yield record, features_of(data.classifier, as_data(record.chain.mean, data.binarize))
