"""evaluate(): what a chain makes of a trained model, measured at each recorded step.

Shapes: N images, F features, D latent dimension, C channels, H rows, W columns.
"""

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from genae_core.data.base import Splits
from genae_core.distributions.base import Distribution
from genae_core.distributions.rng import Draw
from genae_core.evaluation.diagnostics import (
    COMPARED,
    FEWEST_COMPARED,
    Diagnosis,
    Made,
    Subject,
    compare,
    diagnose,
    projected,
    real_of,
)
from genae_core.evaluation.image_grids import Picture, grid, sprite, strip
from genae_core.evaluation.references import (
    References,
    as_data,
    features_of,
    fitted,
    load_references,
    some,
)
from genae_core.metrics.classifier import Classifier
from genae_core.metrics.fcd import Gaussian, frechet_distance, frechet_estimate
from genae_core.models.base import encode_all
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.loop import Recorded, run_chain
from genae_core.training.batches import Batches, to_pixels

T = TypeVar("T")

SHOWN = 64  # samples in a grid
STRIP = 10  # chains in a strip
LAW_IMAGES = 20_000  # training images whose codes a law is fitted to
BLOCKS = 10  # of each half's chains, for the errors of the FCD


class ChainResult(NamedTuple):
    """What one chain setting gave; the lists run over its recorded steps.

    fcd_val, fcd: against the validation and the test half. num_images: compared, each side.
    grids: the first samples, uint8 [H, W, 3] a step. sprite: the very first at every step, in one
    picture. strip: chains by steps. curves: the other metrics by name, each beside its standard
    error NAME_se (see `metrics/`). scalars: metrics of the model, or of the chain as a whole.
    mixing: what the chain's diagnostics give by latent dimension, class or step. latent: its z by
    step among the codes of images, in a plane. step_seconds: that one step of all chains took;
    seconds: that the chains and all that was measured of them did.
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

    def summary(self) -> dict[str, float]:
        """The scalars: the step is chosen on validation and reported on test.

        fcd_recommended_step: the smallest whose validation FCD is within one standard error of
        the best one's. The ratio is absent where the floor is 0: a handful of images on one
        feature.
        """
        best = int(np.argmin(self.fcd_val))
        ratio = {"fcd_best_ratio": self.fcd[best] / self.floor} if self.floor > 0 else {}
        error = self.curves.get("fcd_val_se", [0.0] * len(self.fcd_val))[best]
        enough = self.fcd_val[best] + (0.0 if math.isnan(error) else error)
        first = next(k for k, value in enumerate(self.fcd_val) if value <= enough)
        return {
            **ratio,
            **{name: value for name, value in self.scalars.items() if math.isfinite(value)},
            "fcd_step0": self.fcd[0],
            "fcd_best": self.fcd[best],
            "fcd_val_best": self.fcd_val[best],
            "fcd_best_step": float(self.config.record[best]),
            "fcd_recommended_step": float(self.config.record[first]),
            "fcd_recommended": self.fcd[first],
            "fcd_floor": self.floor,
            "fcd_images": float(self.num_images),
        }


class _Kept:
    """What is kept of one recorded step: the moments of all chains' features, by blocks of each
    half, and the first chains of the halves themselves, for what has no streaming form.

    A block is a tenth of a half, or whole sub-batches where these share a batch's statistics:
    such chains are not independent of one another."""

    def __init__(self, width: int, count: int, chain: ChainConfig) -> None:
        self.count, self.chain = count, chain
        self.compared = min(COMPARED, count)
        self.halves = [[Gaussian(width) for _ in range(BLOCKS)] for _ in range(2)]
        self.shown: list[Tensor] = []
        self.images: list[list[Tensor]] = [[], []]
        self.features: list[Tensor] = []
        self.z: list[Tensor] = []
        self.accepted: list[Tensor] = []

    def take(self, record: Recorded, features: Tensor) -> None:
        chain, first = record.chain, record.first
        if first < SHOWN:
            self.shown.append(chain.mean[: SHOWN - first].cpu().clone())
        if chain.accepted is not None:
            self.accepted.append(chain.accepted)
        for half, blocks in enumerate(self.halves):
            start = half * self.count - first  # where the half begins in this record
            if self.chain.coupled > 1:
                whole = features[max(0, start) : max(0, start + self.count)]
                blocks[first // self.chain.sub_batch % BLOCKS].update(whole)
            else:
                for number, gaussian in enumerate(blocks):
                    edges = (number * self.count // BLOCKS, (number + 1) * self.count // BLOCKS)
                    low, high = (max(0, start + edge) for edge in edges)
                    gaussian.update(features[low:high])
            rows = slice(max(0, start), max(0, start + self.compared))
            if len(chain.z[rows]) == 0:
                continue  # even an empty view would keep the whole sub-batch
            self.images[half].append(chain.mean[rows].clone())
            if half:
                self.features.append(features[rows].clone())
                self.z.append(chain.z[rows].clone())

    def made(self) -> Made:
        accepted = torch.cat(self.accepted) if self.accepted else None
        val, test = (torch.cat(images) for images in self.images)
        return Made(val, test, torch.cat(self.features), torch.cat(self.z), accepted)


def evaluate(
    model: nn.Module,
    chain: ChainConfig,
    splits: Splits,
    classifier: Classifier,
    binarize: bool,
    device: torch.device | str = "cpu",
    real: References | None = None,
) -> ChainResult:
    """Run one chain setting and compare it with the data at each recorded step.

    real: the references of half as many images as there are chains, where they are known.

    The first half of the chains is compared with the validation half of the reference images,
    the second with the test half, so the choice of the step never sees what is reported.
    """
    assert chain.num_chains is not None, "resolve the experiment, or give a number"
    began = time.perf_counter()
    count = chain.num_chains // 2
    fitted_prior = fit_prior(model, chain, splits, binarize, device)
    subject = Subject(model, chain, splits, classifier, binarize, device, fitted_prior)
    moments = real or load_references(splits, classifier, count, binarize, device)
    steps = {step: _Kept(classifier.top.in_features, count, chain) for step in chain.record}
    watch = Stopwatch()
    for record, features in _seen(subject, 2 * count, watch):
        steps[record.step].take(record, features)
    val = [frechet_estimate(steps[step].halves[0], moments.val) for step in chain.record]
    test = [frechet_estimate(steps[step].halves[1], moments.test) for step in chain.record]
    curves = {
        "fcd_val_se": [found.error for found in val],
        "fcd_se": [found.error for found in test],
    }
    diagnosis, latent = Diagnosis({}, {}, {}), {}
    if count >= FEWEST_COMPARED:
        beside = real_of(subject)
        made = {step: steps[step].made() for step in chain.record}
        each = [compare(found, beside, chain.coupled) for found in made.values()]
        latent = projected(beside.codes, {step: found.z for step, found in made.items()})
        for name in each[0]:
            curves[name] = [found[name].value for found in each]
            curves[f"{name}_se"] = [found[name].error for found in each]
        diagnosis = diagnose(subject, beside)
    samples = torch.stack([torch.cat(steps[step].shown) for step in chain.record])
    return ChainResult(
        config=chain,
        fcd_val=[found.value for found in val],
        fcd=[found.value for found in test],
        floor=moments.floor,
        num_images=count,
        grids=[grid(step) for step in samples],
        sprite=sprite(samples),
        strip=strip(samples[:, :STRIP], chain.record),
        curves=curves | diagnosis.curves,
        scalars=diagnosis.scalars,
        mixing=diagnosis.parts,
        latent=latent,
        step_seconds=watch.seconds / max(1, chain.record[-1]),
        seconds=time.perf_counter() - began,
    )


def validation_fcd(
    model: nn.Module,
    chain: ChainConfig,
    splits: Splits,
    classifier: Classifier,
    binarize: bool,
    device: torch.device | str = "cpu",
    samples: int = 2_000,
) -> float:
    """The lowest FCD over the recorded steps, of `samples` chains against as many validation
    images (all of them where there are fewer): what a search goes by while a model trains."""
    count = min(samples, len(splits.val.images))
    real = fitted(splits.val, classifier, count, binarize, device)
    steps = {step: Gaussian(classifier.top.in_features) for step in chain.record}
    fitted_prior = fit_prior(model, chain, splits, binarize, device)
    subject = Subject(model, chain, splits, classifier, binarize, device, fitted_prior)
    for record, features in _seen(subject, count, Stopwatch()):
        steps[record.step].update(features)
    return min(frechet_distance(found, real) for found in steps.values())


def fit_prior(
    model: Any,
    chain: ChainConfig,
    splits: Splits,
    binarize: bool,
    device: torch.device | str,
) -> Distribution | None:
    """The chain's law, fitted to the model's codes of the first training images."""
    if chain.fitted_prior is None:
        return None
    count = min(LAW_IMAGES, len(splits.train.images))
    examples = Batches(splits.train, count, binarize, torch.device(device)).examples()
    return chain.fitted_prior.fit(encode_all(model, examples), Draw(chain.seed, "law"))


class Stopwatch:
    """Adds up how long an iterator takes over its items, without what is done with them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, items: Iterator[T]) -> Iterator[T]:
        while True:
            began = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - began
            yield item


def _seen(
    subject: Subject, num_chains: int, watch: Stopwatch
) -> Iterator[tuple[Recorded, Tensor]]:
    """Each record of the chains with the classifier's features of its images."""
    chain, splits, device = subject.chain, subject.splits, subject.device
    images = None
    if chain.sampler.starts_from == "images":
        chosen = some(len(splits.train.images), chain.padded(num_chains))
        images = to_pixels(splits.train.images[chosen], subject.binarize, torch.device(device))
    records = run_chain(subject.model, chain, num_chains, images, subject.fitted_prior)
    for record in watch.over(records):
        seen = as_data(record.chain.mean, subject.binarize)
        yield record, features_of(subject.classifier, seen)
