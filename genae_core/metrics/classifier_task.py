"""What the FCD's classifier predicts: classes, attributes, or by how much an image is turned."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genae_core.data.base import Split, Splits


def draw_turns(splits: Splits, split: Split) -> NDArray[np.int64] | None:
    """Draw a seeded quarter turn (0, ..., 3) for each image of a split without labels.

    Returns None if the dataset has labels. A classifier that predicts by how much an image is
    turned learns features without labels, since it has to recognise what the image shows
    (Gidaris, Singh & Komodakis 2018, section 2.1).
    """
    if splits.train.labels.ndim > 1 or splits.train.labels.max() > 0:
        return None
    return np.random.default_rng(0).integers(4, size=len(split.images))


def rotate(images: NDArray[np.uint8], turns: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Rotate each square image of [N, C, H, W] by its number of quarter turns."""
    result = images.copy()
    for number in (1, 2, 3):
        result[turns == number] = np.rot90(images[turns == number], number, axes=(2, 3))
    return result


def task_name(splits: Splits) -> Literal["classes", "attributes", "quarter turns"]:
    """What a classifier of this dataset predicts."""
    if draw_turns(splits, splits.val) is not None:
        return "quarter turns"
    return "classes" if splits.val.labels.ndim == 1 else "attributes"


def task_split(splits: Splits, split: Split) -> Split:
    """The split as the classifier learns it: with its own labels, or with turned images."""
    turns = draw_turns(splits, split)
    if turns is None:
        return split
    return Split(rotate(np.asarray(split.images), turns), turns)


def held_out_split(splits: Splits) -> Split:
    """The images that the classifier has not learned: both halves of the reference images."""
    val, test = task_split(splits, splits.val), task_split(splits, splits.test)
    return Split(
        np.concatenate([val.images, test.images]), np.concatenate([val.labels, test.labels])
    )
