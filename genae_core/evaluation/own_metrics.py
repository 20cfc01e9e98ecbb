"""The user's own metrics of samples: at the recorded steps of a chain, and of real images.

Shapes: N images, C channels, H rows, W columns.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from genae_core.data.base import Splits
from genae_core.distributions.rng import Draw
from genae_core.evaluation.comparison import COMPARED
from genae_core.evaluation.references import ReferenceData, as_data
from genae_core.metrics.classifier_features import seeded_indices
from genae_core.metrics.estimate import Estimate, mean_of
from genae_core.metrics.sample_metric import MetricError, SampleMetric, measure_once
from genae_core.training.batches import to_pixels

FEW = 32  # real images on which a metric is tried before a training
REAL = "real images"

# The metrics that worked in this process, and the images: the cells of a grid share both.
_TRIED: set[tuple[type, str, str, bool, int]] = set()


class MetricCurve(NamedTuple):
    """A metric of the user's own at the recorded steps of a chain.

    Attributes:
        values: The value at each step, NaN where the metric failed.
        floor: The value of as many real training images; NaN if the metric failed on them.
        failures: Why it failed, by what it measured: "step 5" or "real images".
    """

    values: list[float]
    floor: float
    failures: dict[str, str]


class RealPair(NamedTuple):
    """Real images of the training and of the test split, [N, C, H, W] each."""

    train: Tensor
    test: Tensor


def read_real_pair(
    splits: Splits, count: int, binarize: bool, device: torch.device | str
) -> RealPair:
    """Read `count` seeded images of each split, which are the first of those of the FCD."""
    chosen = (
        split.images[seeded_indices(len(split.images), count)]
        for split in (splits.train, splits.test)
    )
    return RealPair(*(to_pixels(images, binarize, torch.device(device)) for images in chosen))


def measure_curves(
    metrics: Sequence[SampleMetric],
    generated: Mapping[int, Tensor],
    data: ReferenceData,
    seed: int,
) -> dict[str, MetricCurve]:
    """Measure the samples of each recorded step, and as many real training images.

    Args:
        metrics: The user's own metrics.
        generated: The means of p(x|z) by step, [N, C, H, W].
        data: The data to compare with.
        seed: The seed of the chains. A metric draws the same numbers at every step.

    Returns:
        The curves by the names of the metrics. A metric that fails at a step is NaN there.
    """
    if not metrics:
        return {}
    count = len(next(iter(generated.values())))
    real = read_real_pair(data.splits, count, data.binarize, data.device)
    curves = {}
    for metric in metrics:
        failures: dict[str, str] = {}
        sides = {REAL: real.train}
        sides |= {f"step {k}": as_data(x, data.binarize) for k, x in generated.items()}
        floor, *values = (
            measure_or_note(metric, (images, real.test), (seed,), failures, what)
            for what, images in sides.items()
        )
        curves[metric.name] = MetricCurve(values, floor, failures)
    return curves


def measure_or_note(
    metric: SampleMetric,
    images: tuple[Tensor, Tensor],
    stream: tuple[int, ...],
    failures: dict[str, str],
    what: str,
) -> float:
    """The value of a metric, or NaN if it fails.

    Args:
        metric: The metric.
        images: The images to measure, and the real images to compare them with.
        stream: The seed and the numbers that fix what the metric draws.
        failures: Gets the reason of a failure.
        what: What is measured.

    Returns:
        A finite number or NaN.
    """
    seed, *numbers = stream
    draw = Draw(seed, "metric", metric.name, *numbers, device=images[0].device)
    try:
        return measure_once(metric, *images, draw)
    except MetricError as error:
        failures[what] = str(error)
        return math.nan


def describe_failures(name: str, failures: Mapping[str, str]) -> list[str]:
    """Say where a metric failed, in a sentence for each reason."""
    by_reason: dict[str, list[str]] = {}
    for what, reason in failures.items():
        by_reason.setdefault(reason, []).append(what)
    return [
        f"the metric {name} has no value for {', '.join(places)}: {reason}"
        for reason, places in by_reason.items()
    ]


def try_metrics(
    metrics: Sequence[SampleMetric], splits: Splits, binarize: bool, compared: int
) -> None:
    """Measure a few real images, to learn before a training whether the metrics work.

    A metric that fails on a few is tried on as many as there will be, since it may need them.

    Args:
        metrics: The user's own metrics.
        splits: The images.
        binarize: Whether metrics see pixels thresholded at one half.
        compared: The number of generated images that the FCD compares.

    Raises:
        ValueError: A metric fails.
    """
    most = min(COMPARED, compared)
    for metric in metrics:
        key = (type(metric), repr(metric), splits.sha256, binarize, most)
        if key in _TRIED:
            continue
        failures: dict[str, str] = {}
        for count in sorted({min(FEW, most), most}):
            pair = read_real_pair(splits, count, binarize, "cpu")
            what = f"{count} real images beside {count} others"
            if math.isfinite(measure_or_note(metric, pair, (0,), failures, what)):
                break
        else:
            raise ValueError("; ".join(describe_failures(metric.name, failures)))
        if splits.sha256:
            _TRIED.add(key)


class MetricJob(NamedTuple):
    """What a worker needs to measure the user's own metrics of many samples, block by block.

    Attributes:
        metrics: The metrics.
        real: The test images that each block is compared with, [N, C, H, W]; a block has N
            samples.
        seed: The seed of what the metrics draw.
        floors: The values of as many training images by the names of the metrics.
    """

    metrics: tuple[SampleMetric, ...]
    real: Tensor
    seed: int
    floors: dict[str, float]


class MetricValues(NamedTuple):
    """The values of metrics on the blocks of a part.

    Attributes:
        blocks: The finite values by the name of the metric.
        failures: By name, the reasons by what was measured.
    """

    blocks: dict[str, list[float]]
    failures: dict[str, dict[str, str]]

    def merge(self, other: "MetricValues") -> "MetricValues":
        """The values of both parts, this part's first. The first reason of a failure stays."""
        return MetricValues(
            {name: values + other.blocks[name] for name, values in self.blocks.items()},
            {name: {**why, **other.failures[name], **why} for name, why in self.failures.items()},
        )

    def estimates(self) -> dict[str, Estimate]:
        """The mean over blocks by name, NaN without blocks."""
        return {
            name: mean_of(torch.tensor(values, dtype=torch.float64))
            if values
            else Estimate(math.nan, math.nan)
            for name, values in self.blocks.items()
        }


class MetricBlocks:
    """Measures the samples of one part at one step, and keeps no more of them than a block.

    Samples after the last whole block are left out.

    Args:
        job: The metrics, and the real images.
        part: The number of the part.
        step: The step of the chain.
    """

    def __init__(self, job: MetricJob, part: int, step: int) -> None:
        self.job, self.part, self.step = job, part, step
        self.waiting: list[Tensor] = []
        self.number = 0
        names = [metric.name for metric in job.metrics]
        self.values = MetricValues({name: [] for name in names}, {name: {} for name in names})

    def add(self, images: Tensor) -> None:
        """Add the next samples of the part, [B, C, H, W]."""
        if not self.job.metrics:
            return
        size = len(self.job.real)
        self.waiting.append(images)
        while sum(map(len, self.waiting)) >= size:
            whole = torch.cat(self.waiting)
            self.waiting = [whole[size:].clone()]
            self._measure(whole[:size])

    def _measure(self, block: Tensor) -> None:
        stream = (self.job.seed, self.part, self.number)
        self.number += 1
        for metric in self.job.metrics:
            failures = self.values.failures[metric.name]
            pair = (block, self.job.real.to(block.device))
            value = measure_or_note(metric, pair, stream, failures, f"step {self.step}")
            if math.isfinite(value):
                self.values.blocks[metric.name].append(value)


def metric_job(
    metrics: Sequence[SampleMetric], data: ReferenceData, block: int, seed: int
) -> MetricJob:
    """The job of measuring samples in blocks. It measures training images at once.

    Args:
        metrics: The metrics.
        data: The data to compare with.
        block: The number of samples in a block.
        seed: The seed of what the metrics draw.

    Returns:
        The job; without metrics it has no images.

    Raises:
        ValueError: A metric fails on the training images.
    """
    if not metrics:
        return MetricJob((), torch.zeros(0), seed, {})
    real = read_real_pair(data.splits, block, data.binarize, data.device)
    floors = {}
    for metric in metrics:
        failures: dict[str, str] = {}
        floors[metric.name] = measure_or_note(metric, real, (seed,), failures, REAL)
        if failures:
            raise ValueError("; ".join(describe_failures(metric.name, failures)))
    return MetricJob(tuple(metrics), real.test.cpu(), seed, floors)
