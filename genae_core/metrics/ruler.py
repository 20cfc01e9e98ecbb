"""The ruler: what the FCD's classifier can measure, checked on real images before any trial.

A classifier that is no better than chance, or whose features hardly differ between real images,
gives a small FCD to any samples. Shapes: N images, F features, A attributes.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc

from genae_core.data.base import Split, Splits
from genae_core.metrics.classifier import Classifier, choose_feature_width
from genae_core.metrics.classifier_features import fit_features
from genae_core.metrics.classifier_task import held_out_split, task_name
from genae_core.metrics.classifier_training import correct_predictions
from genae_core.metrics.fcd import floor_distance

# An accuracy that a constant answer reaches with a larger probability is no better than chance.
MOST_BY_CHANCE = 0.01
# A feature varies if its standard deviation is larger than this fraction of the features' root
# mean square. Batches of another size round float32 features by about 1e-7 of it.
LEAST_SPREAD = 1e-4
SOUND, BLIND = "sound", "blind"  # the first word of a ruler's line


class Ruler(NamedTuple):
    """What a classifier was found to measure.

    Attributes:
        task: What it predicts.
        accuracy: The fraction of correct predictions on held-out images.
        chance: The accuracy of the best constant answer: the share of the largest class, or the
            mean of these shares over attributes.
        p_value: The probability that a constant answer is as accurate (see `chance_probability`).
        held_out: The number of held-out images.
        features: F.
        varying: The number of features that vary over the test images.
        images: The number of images whose features were compared, of each side.
        floor: The FCD of real training images against real test images; None if it is not a
            number.
    """

    task: str
    accuracy: float
    chance: float
    p_value: float
    held_out: int
    features: int
    varying: int
    images: int
    floor: float | None

    @property
    def fewest_varying(self) -> int:
        """The number of features that must vary: a third of those that suit so many images.

        In classifiers of the digits with an accuracy of 98 %, 40 to 60 % vary. There must be two.
        """
        suitable = min(self.features, choose_feature_width(self.images))
        return max(2, math.ceil(suitable / 3))

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the ruler is blind; empty if it is sound."""
        faults = []
        if not self.p_value <= MOST_BY_CHANCE:
            faults.append(
                f"its accuracy is no better than chance (p = {self.p_value:.2g}, where at most "
                f"{MOST_BY_CHANCE:g} is needed)"
            )
        if self.varying < self.fewest_varying:
            faults.append(f"fewer than {self.fewest_varying} features vary")
        if self.floor is None or self.floor <= 0:
            faults.append("real images have no FCD above 0")
        return tuple(faults)

    @property
    def is_blind(self) -> bool:
        """Whether an FCD of this classifier says nothing about samples."""
        return len(self.faults) > 0

    @property
    def figures(self) -> str:
        """The measured figures in words."""
        floor = "n/a" if self.floor is None else f"{self.floor:.3g}"
        return (
            f"{self.accuracy:.1%} accurate on {self.held_out:,} held-out images ({self.task}) "
            f"where chance is {self.chance:.1%}, {self.varying} of {self.features} features vary "
            f"on {self.images:,} real images, floor {floor}"
        )

    @property
    def line(self) -> str:
        """The state and the figures in one line, which begins with "sound" or "blind"."""
        if self.is_blind:
            return f"{BLIND}: {self.figures}: {'; '.join(self.faults)}"
        return f"{SOUND}: {self.figures}"


def is_blind_line(line: str) -> bool:
    """Whether a ruler's line, as tables and tags hold it, says that the ruler is blind."""
    return line.startswith(BLIND)


def measure_ruler(model: Classifier, splits: Splits, binarize: bool) -> Ruler:
    """Measure what a trained classifier sees of real images.

    Args:
        model: The classifier, in evaluation mode.
        splits: The dataset.
        binarize: Whether the classifier sees pixels thresholded at one half.

    Returns:
        The figures of the ruler.
    """
    held_out = held_out_split(splits)
    correct = correct_predictions(model, held_out, binarize)
    varying, count, floor = _measure_features(model, splits, binarize)
    return Ruler(
        task=task_name(splits),
        accuracy=float(correct.mean()),
        chance=float(np.mean([largest_share(column) for column in _columns(held_out.labels)])),
        p_value=chance_probability(correct, held_out.labels),
        held_out=len(held_out.images),
        features=model.top.in_features,
        varying=varying,
        images=count,
        floor=floor,
    )


def chance_probability(correct: NDArray[Any], labels: NDArray[Any]) -> float:
    """The probability that a constant answer is right as often, by the exact binomial test.

    With A attributes it is A times the smallest probability of an attribute (Bonferroni), because
    the attributes of an image depend on one another.

    Args:
        correct: Whether each prediction is correct, [N] or [N, A].
        labels: The true answers, of the same shape.

    Returns:
        The probability, at most 1.
    """
    probabilities = []
    for right, answers in zip(_columns(correct), _columns(labels), strict=True):
        # P(X >= k) for X ~ Binomial(N, share)
        share = largest_share(answers)
        tail = bdtrc(int(right.sum()) - 1, len(right), share) if right.any() else 1.0
        probabilities.append(float(tail))
    return min(1.0, len(probabilities) * min(probabilities))


def largest_share(answers: NDArray[Any]) -> float:
    """The share of the most frequent answer of [N]."""
    return float(np.unique(answers, return_counts=True)[1].max() / len(answers))


def _columns(values: NDArray[Any]) -> list[NDArray[Any]]:
    """The columns of [N, A]; of [N] the only one."""
    return list(values.reshape(len(values), -1).T)


def _measure_features(
    model: Classifier, splits: Splits, binarize: bool
) -> tuple[int, int, float | None]:
    """The number of features that vary, the number of images of each side, and the floor."""
    count = min(len(split.images) for split in splits[:3])
    if count < 2:
        return 0, count, None
    device = next(model.parameters()).device

    def fit(split: Split) -> Any:
        return fit_features(model, split, count, binarize, device)

    try:
        train, test = fit(splits.train), fit(splits.test)
    except FloatingPointError:  # the features are not finite
        return 0, count, None
    variances = test.covariance.diagonal()
    scale = np.sqrt(np.mean(variances + test.mean**2))
    varying = int((np.sqrt(variances) > LEAST_SPREAD * scale).sum())
    floor = floor_distance(train, test)
    return varying, count, floor if math.isfinite(floor) else None
