"""The suite "fcd": the speed of the FCD beside torchmetrics with the same features, and its
memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from genae_core.data.torchvision_import import torchvision_datasets
from genae_core.distributions.rng import Draw
from genae_core.metrics.classifier import Classifier, ClassifierConfig
from genae_core.metrics.classifier_features import features_of
from genae_core.metrics.fcd import Gaussian, frechet_distance

from .chain import high_water, run_alone, time_interleaved
from .rows import Row

COUNT, MANY = 10_000, 200_000  # numbers of samples of the shape of MNIST
BATCH = 500
ROUNDS = 5  # rounds of every arm in a repeat
SHAPE = (1, 28, 28)


def rows(repeats: int, device: str) -> list[Row]:
    """Measure fcd_10000, in images a second, and fcd_memory_200000."""
    classifier = classifier_of(device)
    arms: dict[str, Callable[[], Any]] = {"genae": lambda: ours(classifier, COUNT, device)}
    arms["torchmetrics"] = lambda: theirs(classifier, COUNT, device)
    seconds = time_interleaved(arms, repeats * ROUNDS, device)
    few, many = (peak(n, device) for n in (COUNT, MANY))
    return [
        Row(
            name="fcd_10000",
            value=COUNT / seconds["genae"],
            unit="images/s, each side",
            baseline="torchmetrics' FrechetInceptionDistance with the same features",
            baseline_value=COUNT / seconds["torchmetrics"],
            ratio=seconds["torchmetrics"] / seconds["genae"],
        ),
        Row(
            name="fcd_memory_200000",
            value=many / 2**20,
            unit="MiB at the peak of 200,000 samples",
            baseline="10,000 samples",
            baseline_value=few / 2**20,
            ratio=few / many,
        ),
    ]


def classifier_of(device: str) -> Classifier:
    """The classifier of MNIST, untrained: its weights do not change the speed."""
    with Draw(0).as_global():
        config = ClassifierConfig(feature_width=128)
        return Classifier(config, SHAPE, 10).to(device).eval()


def batches(count: int, seed: int, device: str) -> Any:
    """Make random images in [0, 1], one batch after the other."""
    draw = Draw(seed, device=device)
    for _ in range(0, count, BATCH):
        yield draw.uniform((BATCH, *SHAPE))


def ours(classifier: Classifier, count: int, device: str) -> float:
    sides = []
    for seed in (0, 1):
        gaussian = Gaussian(classifier.top.in_features)
        for x in batches(count, seed, device):
            gaussian.update(features_of(classifier, x))
        sides.append(gaussian)
    return frechet_distance(*sides)


class Features(nn.Module):
    """The features of the classifier in the form that torchmetrics expects."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.num_features = classifier.top.in_features

    def forward(self, x: Tensor) -> Tensor:
        return features_of(self.classifier, x)


def theirs(classifier: Classifier, count: int, device: str) -> float:
    torchvision_datasets()  # torchmetrics imports torchvision, which needs this first
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(
        Features(classifier), normalize=True, input_img_size=SHAPE
    ).to(device)
    for seed in (0, 1):
        for x in batches(count, seed, device):
            metric.update(x, real=seed == 0)
    return float(metric.compute())


def peak(count: int, device: str) -> float:
    """Measure the peak memory of the FCD of `count` samples, in bytes."""
    return run_alone(_peak, count, device)


def _peak(count: int, device: str) -> int:
    torch.set_num_threads(1)
    classifier = classifier_of(device)
    ours(classifier, BATCH, device)  # torch loads libraries at first
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = high_water()
    ours(classifier, count, device)
    return int(torch.cuda.max_memory_allocated()) if device == "cuda" else high_water() - before
