"""measure(): the metrics of as many samples as one likes, from moments of parts, which are merged.

What grows with the number of samples is time alone. The metrics that need samples beside each
other (precision, recall, Parzen) are those of a sweep's evaluation. Shapes: F features, K classes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genae_core.config import require, require_positive_int
from genae_core.data.base import Splits
from genae_core.distributions.base import Distribution
from genae_core.evaluation.generate import Part, on_device, parts_of
from genae_core.evaluation.references import as_data, features_of, fitted, some
from genae_core.metrics.classifier import Classifier, turns_of
from genae_core.metrics.estimate import BLOCK, FEWEST, Estimate, mean_of
from genae_core.metrics.fcd import Gaussian, frechet_distance, frechet_estimate
from genae_core.metrics.kid import polynomial_mmd
from genae_core.models.base import GenerativeModel
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.loop import run_chain
from genae_core.training import checkpoint
from genae_core.training.batches import to_pixels

PARTS = 20  # at least, where there are sub-batches enough: blocks of the errors, and of the work
PART = 10_000  # samples in a part, at most, but for one sub-batch
REAL = 5_000  # test images of the kernel distance, at most


class Job(NamedTuple):
    """What every worker is told.

    tensors, description: the checkpoint. classifier: the same for the classifier's. real: features
    [N, F] of test images. block: samples of one kernel distance. classes: whether the classifier
    tells classes apart.
    """

    tensors: dict[str, Tensor]
    description: dict[str, Any]
    chain: ChainConfig
    fitted_prior: Distribution | None
    classifier: Classifier
    real: Tensor
    block: int
    classes: bool
    binarize: bool
    device: str


class Worker(NamedTuple):
    job: Job
    model: GenerativeModel
    classifier: Classifier


class Seen(NamedTuple):
    """What is kept of a part's samples at one step: the moments of their features, the mean of
    their whole blocks' kernel distances (None where no block is whole), how many were taken for
    each class, and the sum of the share of accepted proposals (None where none is refused)."""

    features: Gaussian
    kid: float | None
    classes: NDArray[np.int64]
    accepted: float | None


class Measured(NamedTuple):
    """The metrics at one step. fcd: against the test images. accepted: None where no proposal is
    refused. classes: the share of samples of each class, empty where there are none."""

    step: int
    fcd: Estimate
    kid: Estimate
    classes: list[float]
    accepted: float | None

    @property
    def class_entropy(self) -> float:
        """Of the classes, nats: log K where all are as frequent."""
        return -sum(p * math.log(p) for p in self.classes if p > 0)


class Report(NamedTuple):
    """num_samples, num_real: of the FCD. floor: the FCD of as many training images as there are
    samples, or as there are test images if these are fewer, against these."""

    num_samples: int
    num_real: int
    floor: float
    steps: list[Measured]


Looked = tuple[Part, dict[int, Seen]]  # a part, and what is kept of it by step
Each = Callable[[Job, Sequence[Part]], Iterator[Looked]]  # in any order


def started(job: Job) -> Worker:
    """The job with its models on the worker's device."""
    model = checkpoint.model_of(job.tensors, job.description, "the job").to(job.device)
    job = job._replace(fitted_prior=on_device(job.fitted_prior, job.device))
    return Worker(job, model, job.classifier.to(job.device))


def one_by_one(job: Job, parts: Sequence[Part]) -> Iterator[Looked]:
    """The parts measured in this process."""
    worker = started(job)
    return (look(worker, part) for part in parts)


def fewest_samples(features: int) -> int:
    """As many as a covariance of F features and the kernel distance need."""
    return max(features + 1, 2 * FEWEST)


def measure(
    found: tuple[dict[str, Tensor], dict[str, Any]],
    chain: ChainConfig,
    fitted_prior: Distribution | None,
    splits: Splits,
    classifier: Classifier,
    binarize: bool,
    num_samples: int,
    each: Each = one_by_one,
    on_part: Callable[[int], None] = lambda _: None,
    device: str = "cpu",
) -> Report:
    """The metrics of `num_samples` samples at each recorded step of the chain.

    found: a checkpoint, as `checkpoint.read` gives it. on_part: sees the number of samples of each
    part that was measured. device: the workers'; the real images are seen here. The errors are
    over the samples, by parts of whole sub-batches, whose chains may depend on one another: NaN
    where there is one alone. The real images are taken as they are.
    Raises ValueError for fewer samples than the metrics need, a model of other images than these,
    and a chain that starts from images; FloatingPointError where a chain is not finite.
    """
    require_positive_int(num_samples=num_samples)
    width = classifier.top.in_features
    least = fewest_samples(width)
    require(
        num_samples >= least,
        f"the FCD on {width} features needs at least {least} samples",
        num_samples=num_samples,
    )
    require(
        chain.sampler.starts_from == "prior",
        "samples begin at the latent law; this chain begins at images",
        sampler=type(chain.sampler).__name__,
    )
    shape = tuple(splits.test.images.shape[1:])
    require(
        tuple(found[1]["shape"]) == shape,
        f"the model must make images of the data's shape, {list(shape)}",
        model=found[1]["shape"],
    )
    count = len(splits.test.images)
    test = fitted(splits.test, classifier, count, binarize, "cpu")
    alike = min(count, num_samples, len(splits.train.images))
    train = fitted(splits.train, classifier, alike, binarize, "cpu")
    chosen = some(count, REAL)
    pixels = to_pixels(splits.test.images[chosen], binarize, torch.device("cpu"))
    parts = parts_of(chain.sub_batch, num_samples, min(PART, -(-num_samples // PARTS)))
    job = Job(
        *found,
        chain,
        fitted_prior,
        classifier,
        features_of(classifier, pixels),
        max(2, min(BLOCK, parts[0].last - parts[0].first, len(chosen) // FEWEST)),
        splits.test.labels.ndim == 1 and turns_of(splits, splits.test) is None,
        binarize,
        device,
    )
    blocks = {step: [Gaussian(width) for _ in range(PARTS)] for step in chain.record}
    seen: dict[int, list[Seen]] = {step: [] for step in chain.record}
    for part, result in _in_order(each(job, parts)):
        for step, kept in result.items():
            at = part.number % PARTS
            blocks[step][at] = blocks[step][at].merged(kept.features)
            seen[step].append(kept._replace(features=Gaussian(0)))
        on_part(part.last - part.first)
    steps = [_measured(step, blocks[step], seen[step], test, num_samples) for step in chain.record]
    return Report(num_samples, count, frechet_distance(train, test), steps)


def _in_order(found: Iterator[Looked]) -> Iterator[Looked]:
    """By the parts' numbers, so that sums are the same whoever is first."""
    early: dict[int, Looked] = {}
    following = 0
    for part, result in found:
        early[part.number] = (part, result)
        while following in early:
            yield early.pop(following)
            following += 1


def look(worker: Worker, part: Part) -> Looked:
    """Run the part's chains; what is kept of each recorded step."""
    job, chain = worker.job, worker.job.chain
    features: dict[int, list[Tensor]] = {step: [] for step in chain.record}
    accepted: dict[int, list[float]] = {step: [] for step in chain.record}
    count = part.last - part.first
    for record in run_chain(
        worker.model,
        chain,
        count,
        fitted_prior=job.fitted_prior,
        first_chain=part.first,
    ):
        seen = features_of(worker.classifier, as_data(record.chain.mean, job.binarize))
        features[record.step].append(seen)
        if record.chain.accepted is not None:
            accepted[record.step].append(float(record.chain.accepted.sum()))
    result = {}
    for step in chain.record:
        all_features = torch.cat(features[step])
        gaussian = Gaussian(all_features.shape[1])
        gaussian.update(all_features)
        result[step] = Seen(
            gaussian,
            _kernel_distance(job, part, all_features),
            _classes(worker, all_features),
            sum(accepted[step]) if accepted[step] else None,
        )
    return part, result


def _kernel_distance(job: Job, part: Part, features: Tensor) -> float | None:
    """The mean over the whole blocks of the samples, each against the next block of the real
    images, in turns."""
    real = [block for block in torch.split(job.real, job.block) if len(block) == job.block]
    made = [block for block in torch.split(features, job.block) if len(block) == job.block]
    first = part.first // job.block
    found = [
        float(polynomial_mmd(real[(first + number) % len(real)].to(block.device), block))
        for number, block in enumerate(made)
    ]
    return sum(found) / len(found) if found else None


def _classes(worker: Worker, features: Tensor) -> NDArray[np.int64]:
    """How many samples the classifier takes for each class, int64 [K]."""
    if not worker.job.classes:
        return np.zeros(0, np.int64)
    top: nn.Linear = worker.classifier.top
    with torch.no_grad():
        guesses = top(features).argmax(1).cpu().numpy()
    return np.bincount(guesses, minlength=top.out_features)


def _measured(
    step: int, blocks: list[Gaussian], seen: list[Seen], test: Gaussian, num_samples: int
) -> Measured:
    classes = sum((part.classes for part in seen), np.zeros_like(seen[0].classes))
    accepted = [part.accepted for part in seen if part.accepted is not None]
    return Measured(
        step,
        frechet_estimate(blocks, test),
        mean_of(torch.tensor([part.kid for part in seen if part.kid is not None])),
        (classes / max(1, classes.sum())).tolist(),
        sum(accepted) / num_samples if accepted else None,
    )
