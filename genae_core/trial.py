"""run_trial(): one experiment from seed to metrics. Knows neither Tune nor MLflow."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from genae_core.data.base import Split, Splits
from genae_core.data.batches import Batches, to_pixels
from genae_core.draw import Draw
from genae_core.experiment import Experiment
from genae_core.figures import Picture, grid, strip
from genae_core.metrics.classifier import Classifier
from genae_core.metrics.fcd import Gaussian, frechet_distance
from genae_core.models.base import Autoencoder, encoded
from genae_core.samplers.base import ChainConfig, Recorded, run_chain
from genae_core.training import Point, Progress, fit

SHOWN = 64  # samples in a grid
STRIP = 10  # chains in a strip
LAW_IMAGES = 20_000  # training images whose codes a law is fitted to


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
    grids: the first samples, uint8 [H, W, 3] a step. strip: chains by steps.
    """

    config: ChainConfig
    fcd_val: list[float]
    fcd: list[float]
    floor: float
    num_images: int
    grids: list[Picture]
    strip: Picture

    def summary(self) -> dict[str, float]:
        """The scalars: the step is chosen on validation and reported on test.

        The ratio is absent where the floor is 0: a handful of images on one feature.
        """
        best = int(np.argmin(self.fcd_val))
        ratio = {"fcd_best_ratio": self.fcd[best] / self.floor} if self.floor > 0 else {}
        return {
            **ratio,
            "fcd_step0": self.fcd[0],
            "fcd_best": self.fcd[best],
            "fcd_val_best": self.fcd_val[best],
            "fcd_best_step": float(self.config.record[best]),
            "fcd_floor": self.floor,
            "fcd_images": float(self.num_images),
        }


class TrialResult(NamedTuple):
    """A trained model in evaluation mode, its stream, its loss terms, and its chains."""

    model: nn.Module
    draw: Draw
    history: list[Point]
    chains: list[ChainResult]


def run_trial(
    experiment: Experiment,
    splits: Splits,
    classifier: Classifier,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[nn.Module, Progress], None] = lambda *_: None,
) -> TrialResult:
    """Train the experiment's model and run its chains.

    experiment: resolved against the same splits. on_epoch: sees the model after each epoch.
    Raises NonFiniteLossError as `fit` does.
    """
    draw = Draw(experiment.seed, "training", device=device)
    with draw.as_global():
        model = experiment.model.build(experiment.data.shape).to(device)
    training = experiment.training
    count = min(training.max_images or len(splits.train.images), len(splits.train.images))
    batches = Batches(
        splits.train, count, experiment.data.binarize, draw.device, training.num_labelled
    )

    def watch(progress: Progress) -> None:
        on_epoch(model, progress)

    history = fit(model, model.stages(), batches.examples(), training, draw, watch)
    chains = [
        evaluate(model, chain, experiment, splits, classifier, device)
        for chain in experiment.chains
    ]
    return TrialResult(model, draw, history, chains)


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
    real = references(splits, classifier, count, binarize, device)
    width = classifier.top.in_features
    halves = {step: (Gaussian(width), Gaussian(width)) for step in chain.record}
    shown: dict[int, list[Tensor]] = {step: [] for step in chain.record}
    for record, features in _seen(
        model, chain, chain.num_chains, splits, classifier, binarize, device
    ):
        mean = record.chain.mean
        cut = max(0, min(len(features), count - record.first))  # chains of the first half
        val, test = halves[record.step]
        val.update(features[:cut])
        test.update(features[cut:])
        if record.first < SHOWN:
            shown[record.step].append(mean[: SHOWN - record.first].cpu())
    samples = torch.stack([torch.cat(shown[step]) for step in chain.record])
    return ChainResult(
        config=chain,
        fcd_val=[frechet_distance(halves[step][0], real.val) for step in chain.record],
        fcd=[frechet_distance(halves[step][1], real.test) for step in chain.record],
        floor=real.floor,
        num_images=count,
        grids=[grid(step) for step in samples],
        strip=strip(samples[:, :STRIP], chain.record),
    )


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
    for record, features in _seen(model, chain, count, splits, classifier, binarize, device):
        steps[record.step].update(features)
    return min(frechet_distance(found, real) for found in steps.values())


def _seen(
    model: nn.Module,
    chain: ChainConfig,
    num_chains: int,
    splits: Splits,
    classifier: Classifier,
    binarize: bool,
    device: torch.device | str,
) -> Iterator[tuple[Recorded, Tensor]]:
    """Each record of the chains with the classifier's features of its images."""
    images, law = None, None
    if chain.law is not None:
        count = min(LAW_IMAGES, len(splits.train.images))
        examples = Batches(splits.train, count, binarize, torch.device(device)).examples()
        law = chain.law.fit(encoded(cast(Autoencoder, model), examples), Draw(chain.seed, "law"))
    if chain.sampler.starts_from == "images":
        chosen = _some(len(splits.train.images), chain.padded(num_chains))
        images = to_pixels(splits.train.images[chosen], binarize, torch.device(device))
    for record in run_chain(model, chain, num_chains, images, device, law):
        mean = record.chain.mean
        with torch.no_grad():
            features = classifier.features((mean > 0.5).float() if binarize else mean)
        yield record, features


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
    for first in range(0, count, 500):
        x = to_pixels(split.images[chosen[first : first + 500]], binarize, torch.device(device))
        with torch.no_grad():
            gaussian.update(classifier.features(x))
    return gaussian


def _some(size: int, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng(0).permutation(size)[:count]
