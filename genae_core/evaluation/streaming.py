"""measure(): the metrics of any number of samples, merged from the moments of parts.

A larger number of samples needs more time but no more memory. Metrics that compare samples one
by one (precision, recall, Parzen windows) are computed by `evaluate`. The user's own metrics are
the means over blocks of samples.
Shapes: N images, F features, K classes.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genae_core.config import require, require_positive_int
from genae_core.data.parts import PartMapper, map_here
from genae_core.evaluation.chain_parts import (
    LoadedChain,
    Part,
    PortableChain,
    check_starts_from_prior,
    split_into_parts,
)
from genae_core.evaluation.comparison import COMPARED
from genae_core.evaluation.own_metrics import (
    MetricBlocks,
    MetricJob,
    MetricValues,
    describe_failures,
    metric_job,
)
from genae_core.evaluation.references import ReferenceData, as_data, fit_gaussian
from genae_core.metrics.classifier import Classifier
from genae_core.metrics.classifier_features import features_of, seeded_indices
from genae_core.metrics.classifier_task import task_name
from genae_core.metrics.estimate import BLOCK, FEWEST, Estimate, mean_of
from genae_core.metrics.fcd import Gaussian, floor_distance, frechet_estimate
from genae_core.metrics.kid import polynomial_mmd
from genae_core.metrics.pretrained import FeatureExtractor, Pretrained
from genae_core.metrics.sample_metric import SampleMetric
from genae_core.samplers.config import ChainConfig

# Fewest parts, if there are enough sub-batches; they are the blocks of the standard errors.
NUM_PARTS = 20
PART_SIZE = 10_000  # most samples in a part, unless one sub-batch is larger
# Blocks of a pretrained network's features, whose covariances are large.
NUM_WIDE_BLOCKS = FEWEST
FCD = "fcd"
MAX_REAL = 5_000  # most test images of the kernel distance


class EvaluationJob(NamedTuple):
    """The description of a measurement, which is sent to every worker.

    Attributes:
        source: The model and the chain.
        classifier: The classifier of the data.
        real: The features [N, F] of test images.
        block: The number of samples in one kernel distance.
        has_classes: Whether the classifier predicts classes, which are then counted.
        binarize: Whether the classifier sees thresholded pixels.
        own: The user's own metrics.
        pretrained: The pretrained networks whose features are compared too.
    """

    source: PortableChain
    classifier: Classifier
    real: Tensor
    block: int
    has_classes: bool
    binarize: bool
    own: MetricJob
    pretrained: tuple[Pretrained, ...] = ()


class EvaluationWorker(NamedTuple):
    """An evaluation job in a worker, with the models on its device."""

    job: EvaluationJob
    chain: LoadedChain
    classifier: Classifier
    pretrained: tuple[Pretrained, ...]


class PartStatistics(NamedTuple):
    """The statistics of a part's samples at one step.

    Attributes:
        features: The moments of the features of the classifier ("fcd") and of each pretrained
            network, by the name of the distance.
        kid: The mean kernel distance over whole blocks; None if no block is whole.
        classes: The number of samples of each class, int64 [K]; empty without classes.
        accepted: The sum of the chains' fractions of accepted proposals; None for a sampler that
            rejects none.
        own: The user's own metrics.
    """

    features: dict[str, Gaussian]
    kid: float | None
    classes: NDArray[np.int64]
    accepted: float | None
    own: MetricValues


class StepMetrics(NamedTuple):
    """The metrics at one step.

    Attributes:
        step: The step of the chain.
        fcd: The FCD against the test images.
        kid: The kernel distance from test images.
        classes: The fraction of the samples in each class; empty without classes.
        accepted: The fraction of accepted proposals; None for a sampler that rejects none.
        metrics: The user's own metrics by name.
        distances: The Frechet distances of pretrained networks' features, by name.
    """

    step: int
    fcd: Estimate
    kid: Estimate
    classes: list[float]
    accepted: float | None
    metrics: dict[str, Estimate] = {}
    distances: dict[str, Estimate] = {}

    @property
    def class_entropy(self) -> float:
        """The entropy of the classes in nats; log K if all are equally frequent."""
        return 0.0 - sum(p * math.log(p) for p in self.classes if p > 0)


class EvaluationReport(NamedTuple):
    """The metrics at every recorded step.

    Attributes:
        num_samples: The number of samples that the FCD compares.
        num_real: The number of test images that the FCD compares.
        floor: The FCD of training images against the test images. It uses as many training images
            as there are samples, but no more than there are test images.
        steps: The metrics at each step.
        metric_images: The number of images of each side that a metric of the user's own compares
            at once; 0 without such metrics.
        metric_floors: The values of these metrics on training images, by name.
        failures: Where these metrics failed, and why, in sentences.
        distance_floors: The Frechet distances of the same training images on the features of
            pretrained networks, by name.
    """

    num_samples: int
    num_real: int
    floor: float
    steps: list[StepMetrics]
    metric_images: int = 0
    metric_floors: dict[str, float] = {}
    failures: tuple[str, ...] = ()
    distance_floors: dict[str, float] = {}


PartResult = tuple[Part, dict[int, PartStatistics]]  # the statistics are by step


def fewest_samples(features: int) -> int:
    """The fewest samples that allow a covariance of F features and a kernel distance."""
    return max(features + 1, 2 * FEWEST)


def measure(
    source: PortableChain,
    data: ReferenceData,
    num_samples: int,
    mapper: PartMapper = map_here,
    on_part: Callable[[int], None] = lambda _: None,
    metrics: Sequence[SampleMetric] = (),
) -> EvaluationReport:
    """Measure samples of a chain at its recorded steps, without storing them.

    Args:
        source: The model and the chain.
        data: The data and the classifier to compare with, on this process's device.
        num_samples: The number of samples.
        mapper: Measures the parts, here or on a cluster.
        on_part: Called with the number of samples of each finished part.
        metrics: Metrics of your own. Each compares blocks of up to 2,000 samples with as many
            test images.

    Returns:
        The metrics, which do not depend on the order in which parts finish.

    Raises:
        ValueError: The samples are too few, the chain starts from images, the model makes images
            of another shape than the data, or a metric of your own fails on real images.
        FloatingPointError: A chain is not finite.
    """
    _check(source, data, num_samples)
    splits, chain = data.splits, source.chain
    num_test = len(splits.test.images)
    num_train = min(num_test, num_samples, len(splits.train.images))
    compared = {
        name: _Compared.fit(data, extractor, num_train, tuple(chain.record))
        for name, extractor in _extractors(data).items()
    }
    parts = _parts(chain, num_samples, fewest=min(COMPARED, num_train) if metrics else 0)
    own = metric_job(metrics, data, min(COMPARED, num_train, parts[0].num_chains), chain.seed)
    job = _evaluation_job(source, data, parts[0].num_chains, own)
    statistics: dict[int, list[PartStatistics]] = {step: [] for step in chain.record}
    for part, result in _in_order(mapper(measure_part, job, parts, start_worker)):
        for step, values in result.items():
            for name, gaussian in values.features.items():
                compared[name].add(step, part, gaussian)
            statistics[step].append(values._replace(features={}))
        on_part(part.num_chains)
    steps = [
        _step_metrics(step, compared, parts_of_step, num_samples)
        for step, parts_of_step in statistics.items()
    ]
    floors = {name: side.floor for name, side in compared.items()}
    return EvaluationReport(
        num_samples=num_samples,
        num_real=num_test,
        floor=floors.pop(FCD),
        steps=steps,
        metric_images=len(own.real),
        metric_floors=own.floors,
        failures=_own_failures(statistics),
        distance_floors=floors,
    )


def _extractors(data: ReferenceData) -> dict[str, FeatureExtractor]:
    """The classifier and the pretrained networks by the names of their distances."""
    return {FCD: data.classifier, **{each.names.key: each for each in data.pretrained}}


class _Compared(NamedTuple):
    """The Gaussians on one extractor's features: of test images, and of samples in blocks.

    Attributes:
        test: The Gaussian of the test images.
        floor: The distance of training images to them.
        blocks: The Gaussians of disjoint blocks of samples, by step.
    """

    test: Gaussian
    floor: float
    blocks: dict[int, list[Gaussian]]

    @classmethod
    def fit(
        cls,
        data: ReferenceData,
        extractor: FeatureExtractor,
        num_train: int,
        record: tuple[int, ...],
    ) -> "_Compared":
        """Fit the Gaussians of real images; the blocks are empty."""
        splits = data.splits
        test = fit_gaussian(data, splits.test, len(splits.test.images), extractor)
        train = fit_gaussian(data, splits.train, num_train, extractor)
        num_blocks = NUM_PARTS if extractor is data.classifier else NUM_WIDE_BLOCKS
        width = extractor.num_features
        blocks = {step: [Gaussian(width) for _ in range(num_blocks)] for step in record}
        return cls(test, floor_distance(train, test), blocks)

    def add(self, step: int, part: Part, gaussian: Gaussian) -> None:
        """Add the samples of a part to its block."""
        blocks = self.blocks[step]
        number = part.number % len(blocks)
        blocks[number] = blocks[number].merge(gaussian)

    def estimate(self, step: int) -> Estimate:
        """The distance of all samples of a step, with its standard error."""
        return frechet_estimate(self.blocks[step], self.test)


def _parts(chain: ChainConfig, num_samples: int, fewest: int) -> list[Part]:
    """The parts of the samples. They have about `fewest` samples or more, if there are as many."""
    most = max(fewest, -(-num_samples // NUM_PARTS))
    return split_into_parts(num_samples, chain.sub_batch, min(PART_SIZE, most))


def _check(source: PortableChain, data: ReferenceData, num_samples: int) -> None:
    """Raise ValueError if these samples cannot be measured."""
    real = min(len(data.splits.train.images), len(data.splits.test.images))
    require(real >= 2, "the FCD needs at least 2 training and 2 test images", images=real)
    require_positive_int(num_samples=num_samples)
    width = data.classifier.num_features
    fewest = fewest_samples(width)
    require(
        num_samples >= fewest,
        f"the FCD on {width} features needs at least {fewest} samples",
        num_samples=num_samples,
    )
    check_starts_from_prior(source.chain)
    shape = tuple(data.splits.test.images.shape[1:])
    require(
        tuple(source.description["shape"]) == shape,
        f"the model must make images of the data's shape, {list(shape)}",
        model=source.description["shape"],
    )


def _evaluation_job(
    source: PortableChain, data: ReferenceData, part_size: int, own: MetricJob
) -> EvaluationJob:
    """The job for the workers, with the features of real images to compare with."""
    test = data.splits.test
    index = seeded_indices(len(test.images), MAX_REAL)
    return EvaluationJob(
        source=source,
        classifier=data.classifier,
        real=features_of(data.classifier, data.pixels(test, index)),
        block=max(2, min(BLOCK, part_size, len(index) // FEWEST)),
        has_classes=task_name(data.splits) == "classes",
        binarize=data.binarize,
        own=own,
        pretrained=data.pretrained,
    )


def _in_order(results: Iterator[PartResult]) -> Iterator[PartResult]:
    """Yield the results in the order of the parts, so that sums do not depend on the workers."""
    waiting: dict[int, PartResult] = {}
    number = 0
    for part, statistics in results:
        waiting[part.number] = (part, statistics)
        while number in waiting:
            yield waiting.pop(number)
            number += 1


def start_worker(job: EvaluationJob) -> EvaluationWorker:
    """Build the job's models on the worker's device."""
    device = job.source.device
    pretrained = tuple(network.to(device) for network in job.pretrained)
    return EvaluationWorker(job, job.source.load(), job.classifier.to(device), pretrained)


def measure_part(worker: EvaluationWorker, part: Part) -> PartResult:
    """Run the chains of a part, and return the statistics of each recorded step."""
    job, record = worker.job, worker.job.source.chain.record
    features: dict[int, list[Tensor]] = {step: [] for step in record}
    accepted: dict[int, list[float]] = {step: [] for step in record}
    own = {step: MetricBlocks(job.own, part.number, step) for step in record}
    moments: dict[int, dict[str, Gaussian]] = {
        step: {each.names.key: Gaussian(each.num_features) for each in worker.pretrained}
        for step in record
    }
    for recorded in worker.chain.run(part):
        images = as_data(recorded.chain.mean, job.binarize)
        features[recorded.step].append(features_of(worker.classifier, images))
        own[recorded.step].add(images)
        for network in worker.pretrained:
            moments[recorded.step][network.names.key].update(features_of(network, images))
        if recorded.chain.accepted is not None:
            accepted[recorded.step].append(float(recorded.chain.accepted.sum()))
    statistics = {}
    for step in record:
        all_features = torch.cat(features[step])
        gaussian = Gaussian(all_features.shape[1])
        gaussian.update(all_features)
        statistics[step] = PartStatistics(
            features={FCD: gaussian, **moments[step]},
            kid=_kernel_distance(job, part, all_features),
            classes=_count_classes(worker, all_features),
            accepted=sum(accepted[step]) if accepted[step] else None,
            own=own[step].values,
        )
    return part, statistics


def _kernel_distance(job: EvaluationJob, part: Part, features: Tensor) -> float | None:
    """The mean over whole blocks of samples, each compared with the next block of real images."""
    real = [block for block in torch.split(job.real, job.block) if len(block) == job.block]
    generated = [block for block in torch.split(features, job.block) if len(block) == job.block]
    first = part.first // job.block
    distances = []
    for number, block in enumerate(generated):
        real_block = real[(first + number) % len(real)].to(block.device)
        distances.append(float(polynomial_mmd(real_block, block)))
    return sum(distances) / len(distances) if distances else None


def _count_classes(worker: EvaluationWorker, features: Tensor) -> NDArray[np.int64]:
    """The number of samples that the classifier assigns to each class, int64 [K]."""
    if not worker.job.has_classes:
        return np.zeros(0, np.int64)
    top: nn.Linear = worker.classifier.top
    with torch.no_grad():
        classes = top(features).argmax(1).cpu().numpy()
    return np.bincount(classes, minlength=top.out_features)


def _step_metrics(
    step: int, compared: dict[str, _Compared], parts: list[PartStatistics], num_samples: int
) -> StepMetrics:
    """The metrics at one step."""
    distances = {name: side.estimate(step) for name, side in compared.items()}
    return StepMetrics(
        step=step,
        fcd=distances.pop(FCD),
        kid=_mean_kid(parts),
        classes=_class_fractions(parts),
        accepted=_accepted_fraction(parts, num_samples),
        metrics=_merge_own(parts).estimates(),
        distances=distances,
    )


def _mean_kid(parts: list[PartStatistics]) -> Estimate:
    """The mean kernel distance over parts."""
    return mean_of(torch.tensor([part.kid for part in parts if part.kid is not None]))


def _class_fractions(parts: list[PartStatistics]) -> list[float]:
    """The fraction of all samples in each class."""
    counts = sum((part.classes for part in parts), np.zeros_like(parts[0].classes))
    fractions: list[float] = (counts / max(1, counts.sum())).tolist()
    return fractions


def _accepted_fraction(parts: list[PartStatistics], num_samples: int) -> float | None:
    """The fraction of accepted proposals; None for a sampler that rejects none."""
    sums = [part.accepted for part in parts if part.accepted is not None]
    return sum(sums) / num_samples if sums else None


def _merge_own(parts: list[PartStatistics]) -> MetricValues:
    """The values of the user's own metrics on the blocks of all parts."""
    return functools.reduce(MetricValues.merge, (part.own for part in parts))


def _own_failures(statistics: dict[int, list[PartStatistics]]) -> tuple[str, ...]:
    """Where the user's own metrics failed at any step, and why, in sentences."""
    merged = functools.reduce(MetricValues.merge, map(_merge_own, statistics.values()))
    return tuple(
        sentence
        for name, failures in merged.failures.items()
        for sentence in describe_failures(name, failures)
    )
