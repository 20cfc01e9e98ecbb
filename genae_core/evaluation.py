"""evaluate(): what a chain makes of a trained model, measured at each recorded step.

Shapes: N images, F features, D latent dimension, C channels, H rows, W columns.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from genae_core.data.base import Split, Splits
from genae_core.data.batches import Batches, to_pixels
from genae_core.distributions import Distribution
from genae_core.draw import Draw
from genae_core.experiment import Experiment
from genae_core.figures import Picture, grid, strip
from genae_core.metrics.classifier import Classifier, turns_of
from genae_core.metrics.estimate import Estimate, mean_of
from genae_core.metrics.fcd import Gaussian, frechet_distance, frechet_estimate
from genae_core.metrics.kid import kernel_distance
from genae_core.metrics.latent_gap import latent_gap
from genae_core.metrics.mixing import FEWEST, mixing, posterior_sd, trace_classes, transitions
from genae_core.metrics.parzen import choose_bandwidth, log_likelihood
from genae_core.metrics.precision_recall import quality
from genae_core.models.base import encoded
from genae_core.samplers.base import ChainConfig, Recorded, run_chain, sampling_mode

SHOWN = 64  # samples in a grid
STRIP = 10  # chains in a strip
LAW_IMAGES = 20_000  # training images whose codes a law is fitted to
BLOCKS = 10  # of each half's chains, for the errors of the FCD
COMPARED = 2_000  # images and latents that the costlier metrics see, each side
FEWEST_COMPARED = 10  # below which they say nothing
BANDWIDTHS = tuple(float(b) for b in np.geomspace(0.05, 1.0, 14))  # of the Parzen windows
DRAWS = 10  # of q(z|x), for its empirical deviation
ENCODED = 500  # images at a time


@dataclass(frozen=True)
class References:
    """Gaussians of the real images that n samples are compared with, n images each.

    floor: the FCD of n real training images against the test half.
    """

    val: Gaussian
    test: Gaussian
    floor: float


class ChainResult(NamedTuple):
    """What one chain setting gave; the lists run over its recorded steps.

    fcd_val, fcd: against the validation and the test half. num_images: compared, each side.
    grids: the first samples, uint8 [H, W, 3] a step. strip: chains by steps. curves: the other
    metrics by name, each beside its standard error NAME_se (see `metrics/`). scalars: metrics of
    the model, or of the chain as a whole. mixing: what the chain's diagnostics give by latent
    dimension, class or step.
    """

    config: ChainConfig
    fcd_val: list[float]
    fcd: list[float]
    floor: float
    num_images: int
    grids: list[Picture]
    strip: Picture
    curves: dict[str, list[float]] = {}
    scalars: dict[str, float] = {}
    mixing: dict[str, Any] = {}

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
    half, and the first chains of the halves themselves, for what has no streaming form."""

    def __init__(self, width: int, count: int) -> None:
        self.count = count
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
            self.shown.append(chain.mean[: SHOWN - first].cpu())
        if chain.accepted is not None:
            self.accepted.append(chain.accepted)
        for half, blocks in enumerate(self.halves):
            start = half * self.count - first  # where the half begins in this record
            for number, gaussian in enumerate(blocks):
                low, high = (start + edge * self.count // BLOCKS for edge in (number, number + 1))
                gaussian.update(features[max(0, low) : max(0, high)])
            rows = slice(max(0, start), max(0, start + self.compared))
            self.images[half].append(chain.mean[rows])
            if half:
                self.features.append(features[rows])
                self.z.append(chain.z[rows])


class _Real(NamedTuple):
    """As many real images of each kind as are compared with samples one by one.

    val, test: [N, C, H, W]. features: of the test images, [N, F]. codes: z ~ q(z|x~) of training
    images, [N, D], the aggregated posterior. prior: as many z of what the chain starts from.
    """

    val: Tensor
    test: Tensor
    features: Tensor
    codes: Tensor
    prior: Tensor


def evaluate(
    model: nn.Module,
    chain: ChainConfig,
    experiment: Experiment,
    splits: Splits,
    classifier: Classifier,
    device: torch.device | str = "cpu",
) -> ChainResult:
    """Run one chain setting and compare it with the data at each recorded step.

    The first half of the chains is compared with the validation half of the reference images,
    the second with the test half, so the choice of the step never sees what is reported.
    """
    assert chain.num_chains is not None, "resolve the experiment first"
    count = chain.num_chains // 2
    binarize = experiment.data.binarize
    moments = references(splits, classifier, count, binarize, device)
    law = law_of(model, chain, splits, binarize, device)
    width = classifier.top.in_features
    steps = {step: _Kept(width, count) for step in chain.record}
    for record, features in _seen(
        model, chain, 2 * count, splits, classifier, binarize, device, law
    ):
        steps[record.step].take(record, features)
    val = [frechet_estimate(steps[step].halves[0], moments.val) for step in chain.record]
    test = [frechet_estimate(steps[step].halves[1], moments.test) for step in chain.record]
    curves = {
        "fcd_val_se": [found.error for found in val],
        "fcd_se": [found.error for found in test],
    }
    scalars: dict[str, float] = {}
    about: dict[str, Any] = {}
    if count >= FEWEST_COMPARED:
        real = _real(model, chain, splits, classifier, binarize, device, law)
        each = [_compare(steps[step], real) for step in chain.record]
        for name in each[0]:
            curves[name] = [found[name].value for found in each]
            curves[f"{name}_se"] = [found[name].error for found in each]
        classes = splits.test.labels.ndim == 1 and turns_of(splits, splits.test) is None
        scalars, about = _diagnose(model, chain, classifier, classes, binarize, device, law, real)
    samples = torch.stack([torch.cat(steps[step].shown) for step in chain.record])
    return ChainResult(
        config=chain,
        fcd_val=[found.value for found in val],
        fcd=[found.value for found in test],
        floor=moments.floor,
        num_images=count,
        grids=[grid(step) for step in samples],
        strip=strip(samples[:, :STRIP], chain.record),
        curves=curves,
        scalars=scalars,
        mixing=about,
    )


def _real(
    model: Any,
    chain: ChainConfig,
    splits: Splits,
    classifier: Classifier,
    binarize: bool,
    device: torch.device | str,
    law: Distribution | None,
) -> _Real:
    assert chain.num_chains is not None
    count = min(COMPARED, chain.num_chains // 2, len(splits.train.images))
    train, val, test = (
        to_pixels(split.images[_some(len(split.images), count)], binarize, torch.device(device))
        for split in splits[:3]
    )
    draw = Draw(chain.seed, "compared", device=device)
    with sampling_mode(model, "running"):
        codes = [
            model.encode(model.corrupt(x, draw)).sample(draw) for x in torch.split(train, ENCODED)
        ]
        prior = (law or model.latent_prior()).sample(draw, (count,))
    with torch.no_grad():
        features = torch.cat([classifier.features(x) for x in torch.split(test, ENCODED)])
    return _Real(val, test, features, torch.cat(codes), prior)


def _compare(kept: _Kept, real: _Real) -> dict[str, Estimate]:
    """The metrics of one recorded step that look at images and latents themselves."""
    features, z = torch.cat(kept.features), torch.cat(kept.z)
    val, test = (torch.cat(images).flatten(1) for images in kept.images)
    bandwidth = choose_bandwidth(val, real.val.flatten(1), BANDWIDTHS)
    parzen = log_likelihood([test], real.test.flatten(1), bandwidth)
    to_codes, to_prior = latent_gap(z, real.codes), latent_gap(z, real.prior)
    found = {
        "kid": kernel_distance(real.features, features),
        **quality(real.features, features)._asdict(),
        "parzen": Estimate(*parzen),
        "z_posterior_mmd": to_codes.mmd,
        "z_posterior_w2": to_codes.sliced_wasserstein,
        "z_prior_mmd": to_prior.mmd,
        "z_prior_w2": to_prior.sliced_wasserstein,
    }
    if kept.accepted:
        found["accepted"] = mean_of(torch.cat(kept.accepted))
    return found


def _diagnose(
    model: Any,
    chain: ChainConfig,
    classifier: Classifier,
    classes: bool,
    binarize: bool,
    device: torch.device | str,
    law: Distribution | None,
    real: _Real,
) -> tuple[dict[str, float], dict[str, Any]]:
    """The model's reconstruction error and its posterior's deviation; and how one sub-batch of
    chains mixes, at every step up to the last recorded one."""
    draw = Draw(chain.seed, "diagnosed", device=device)
    errors, z = [], []
    with sampling_mode(model, "running"):
        for x in torch.split(real.test, ENCODED):
            q = model.encode(x)
            errors.append((model.decode(q.mean).mean - x).square().flatten(1).mean(1))
            z.append(q.sample(draw, (DRAWS,)))
    error = mean_of(torch.cat(errors))
    sd = posterior_sd(torch.cat(z, 1))
    scalars = {
        "reconstruction_error": error.value,
        "reconstruction_error_se": error.error,
        "posterior_sd": float(sd.mean()),
    }
    about: dict[str, Any] = {"posterior_sd": sd.tolist()}
    last = chain.record[-1]
    if last + 1 < FEWEST or chain.sampler.starts_from == "images":
        return scalars, about
    every = dataclasses.replace(chain, record=tuple(range(last + 1)))
    trace, seen = [], []
    for record in run_chain(model, every, chain.sub_batch, device=device, law=law):
        mean = record.chain.mean
        trace.append(record.chain.z)
        with torch.no_grad():
            seen.append(trace_classes(classifier(_pixels(mean, binarize))))
    found = mixing(torch.stack(trace))
    scalars |= {
        "rhat_max": float(np.nanmax(found.rhat, initial=-math.inf)),
        "ess_min": float(np.nanmin(found.ess, initial=math.inf)),
    }
    about |= {name: values.tolist() for name, values in found._asdict().items()}
    if classes:
        moves = transitions(np.stack(seen), classifier.top.out_features)
        scalars |= {"class_stay": moves.stay, "class_entropy": moves.entropy}
        about["transitions"] = moves.matrix.tolist()
    return scalars, about


def validation_fcd(
    model: nn.Module,
    chain: ChainConfig,
    experiment: Experiment,
    splits: Splits,
    classifier: Classifier,
    device: torch.device | str = "cpu",
    samples: int = 2_000,
) -> float:
    """The lowest FCD over the recorded steps, of `samples` chains against as many validation
    images (all of them where there are fewer): what a search goes by while a model trains."""
    binarize = experiment.data.binarize
    count = min(samples, len(splits.val.images))
    width = classifier.top.in_features
    real = _fitted(splits.val, classifier, count, binarize, device)
    steps = {step: Gaussian(width) for step in chain.record}
    law = law_of(model, chain, splits, binarize, device)
    for record, seen in _seen(model, chain, count, splits, classifier, binarize, device, law):
        steps[record.step].update(seen)
    return min(frechet_distance(found, real) for found in steps.values())


def law_of(
    model: Any,
    chain: ChainConfig,
    splits: Splits,
    binarize: bool,
    device: torch.device | str,
) -> Distribution | None:
    """The chain's law, fitted to the model's codes of the first training images."""
    if chain.law is None:
        return None
    count = min(LAW_IMAGES, len(splits.train.images))
    examples = Batches(splits.train, count, binarize, torch.device(device)).examples()
    return chain.law.fit(encoded(model, examples), Draw(chain.seed, "law"))


def _seen(
    model: nn.Module,
    chain: ChainConfig,
    num_chains: int,
    splits: Splits,
    classifier: Classifier,
    binarize: bool,
    device: torch.device | str,
    law: Distribution | None,
) -> Iterator[tuple[Recorded, Tensor]]:
    """Each record of the chains with the classifier's features of its images."""
    images = None
    if chain.sampler.starts_from == "images":
        chosen = _some(len(splits.train.images), chain.padded(num_chains))
        images = to_pixels(splits.train.images[chosen], binarize, torch.device(device))
    for record in run_chain(model, chain, num_chains, images, device, law):
        with torch.no_grad():
            features = classifier.features(_pixels(record.chain.mean, binarize))
        yield record, features


def _pixels(mean: Tensor, binarize: bool) -> Tensor:
    """The samples as the classifier sees the data."""
    return (mean > 0.5).float() if binarize else mean


def references(
    splits: Splits,
    classifier: Classifier,
    count: int,
    binarize: bool,
    device: torch.device | str = "cpu",
) -> References:
    """The Gaussians of `count` seeded images of each half, and the floor."""
    val, test, train = (
        _fitted(split, classifier, count, binarize, device)
        for split in (splits.val, splits.test, splits.train)
    )
    return References(val, test, frechet_distance(train, test))


def _fitted(
    split: Split, classifier: Classifier, count: int, binarize: bool, device: torch.device | str
) -> Gaussian:
    """The Gaussian of the features of `count` seeded images."""
    chosen = _some(len(split.images), count)
    gaussian = Gaussian(classifier.top.in_features)
    for first in range(0, count, ENCODED):
        rows = chosen[first : first + ENCODED]
        x = to_pixels(split.images[rows], binarize, torch.device(device))
        with torch.no_grad():
            gaussian.update(classifier.features(x))
    return gaussian


def _some(size: int, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng(0).permutation(size)[:count]
