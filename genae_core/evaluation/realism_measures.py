"""What the claims about realistic images need of a trained model.

Shapes: N images or chains, C channels, H rows, W columns, P points of a path.
"""

import math
from collections.abc import Callable

import torch
from scipy.stats import spearmanr
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.evaluation.claim_measures import FEW, run_means, test_images, train_images
from genae_core.evaluation.comparison import EvaluatedChain
from genae_core.evaluation.references import ReferenceData, as_data
from genae_core.metrics.classifier_features import features_of
from genae_core.metrics.classifier_task import task_name
from genae_core.metrics.estimate import Estimate, jackknife, mean_of
from genae_core.metrics.precision_recall import realism_scores
from genae_core.samplers.interpolation import Kind, interpolate

REAL = 5_000  # training images among whose features an image without classes is judged
PAIRS, POINTS = 100, 9  # paths between images, and points of a path
BLOCKS = 10  # blocks of chains in a jackknife
REALISM_MEASURES = ("movement", "path_start", "path_later", "path_straight")

Realism = Callable[[Tensor], Tensor]  # of images [N, C, H, W], as [N]; higher is more realistic


def measure_realism(subject: EvaluatedChain) -> dict[str, Estimate]:
    """Measure everything in this file for a model with an encoder.

    Args:
        subject: The model and its chain. The number of chains and the recorded steps of its config
            are not used.

    Returns:
        The values by the names of REALISM_MEASURES, with their errors for this model: see
        `movement` and `path_realism`.
    """
    realism = realism_of(subject.data)
    return {"movement": movement(subject, realism), **path_realism(subject, realism)}


def realism_of(data: ReferenceData) -> Realism:
    """How realistic an image is, for the classifier of the data.

    It is the probability of the likeliest class. For data without classes it is the realism score
    among 5,000 training images: see `realism_scores`.
    """
    if task_name(data.splits) == "classes":
        return lambda x: likeliest_probability(data, x)
    real = features_of(data.classifier, train_images(data, REAL))
    return lambda x: realism_scores(real, features_of(data.classifier, as_data(x, data.binarize)))


def likeliest_probability(data: ReferenceData, x: Tensor) -> Tensor:
    """The classifier's probability of the likeliest class of each image [N]."""
    with torch.no_grad():
        logits: Tensor = data.classifier.top(
            features_of(data.classifier, as_data(x, data.binarize))
        )
    return logits.softmax(1).amax(1)


def movement(subject: EvaluatedChain, realism: Realism) -> Estimate:
    """Spearman's correlation over chains between realism at step 0 and movement in one step.

    The movement of an image is |x_1 - x_0|^2. If good samples stay, the correlation is below 0.
    The error is a jackknife over blocks of chains.
    """
    images = run_means(subject, (0, 1))
    start = realism(images[0])
    moved = (images[1] - images[0]).square().flatten(1).sum(1)
    parts = torch.arange(len(moved), device=moved.device) * BLOCKS // len(moved)
    without = [rank_correlation(start[parts != k], moved[parts != k]) for k in range(BLOCKS)]
    return jackknife(rank_correlation(start, moved), without)


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's correlation of two lists of values [N]; NaN if one of them is constant."""
    if float(a.min()) == float(a.max()) or float(b.min()) == float(b.max()):
        return math.nan
    return float(spearmanr(a.cpu().numpy(), b.cpu().numpy()).statistic)


def path_realism(subject: EvaluatedChain, realism: Realism) -> dict[str, Estimate]:
    """How realistic the middle third of paths between images is.

    The chain starts from all points, with the batch normalisation of its config. Both kinds of
    paths have the same ends.

    Returns:
        path_start and path_later: The mean realism of spherical paths before the first step and
            after a few steps.
        path_straight: That of straight paths before the first step.
    """
    spherical = _paths(subject, "spherical", (0, FEW))
    images = {
        "path_start": spherical[0],
        "path_later": spherical[FEW],
        "path_straight": _paths(subject, "linear", (0, 1))[0],
    }
    middle = slice(POINTS // 3, POINTS - POINTS // 3)
    return {
        name: mean_of(realism(x).reshape(-1, POINTS)[:, middle].mean(1))
        for name, x in images.items()
    }


def _paths(subject: EvaluatedChain, kind: Kind, record: tuple[int, ...]) -> dict[int, Tensor]:
    """The images [N P, C, H, W] of paths between test images, by recorded step."""
    data = subject.data
    images = test_images(data, 2 * PAIRS)
    ends = torch.stack(images[: len(images) // 2 * 2].chunk(2))
    draw = Draw(subject.chain.seed, "paths", device=data.device)
    z = interpolate(subject.model, ends, POINTS, draw, kind=kind)
    return run_means(subject, record, z.flatten(0, 1))
