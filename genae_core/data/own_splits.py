"""The splits of a user's own images: those that the data names, and a seeded cut for the rest."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from genae_core.data.base import SPLITS
from genae_core.data.official_files import draw_split_indices

FRACTION = 8  # One of so many images is cut for each missing split.
MAX_CLASSES = 100_000  # more are numbers of something else, such as identifiers
WHOLE = ""  # the key of images that belong to no split


def complete_splits(
    dataset: str, parts: Mapping[str, NDArray[np.int64]], seed: int
) -> tuple[dict[str, NDArray[np.int64]], list[str]]:
    """Cut the splits that are missing from the training images.

    Args:
        dataset: The name of the dataset, for messages.
        parts: The indices of the images of each split; under "", those of all images if they
            are in no splits.
        seed: The seed of the cut.

    Returns:
        The ascending indices of train, val and test, and sentences for the user.

    Raises:
        ValueError: There are no training images, a split is empty, or there are too few images.
    """
    empty = [split or "images" for split, index in parts.items() if not len(index)]
    if empty:
        raise ValueError(f"{dataset}: there is no image in {' and '.join(empty)}; add images")
    if WHOLE in parts or set(parts) == {"train"}:
        (index,) = parts.values()
        return _cut_all(dataset, index, seed)
    if "train" not in parts:
        raise ValueError(
            f"{dataset}: there are images of {' and '.join(parts)}, but none of train; add them"
        )
    counts = ", ".join(f"{len(index):,} {split}" for split, index in parts.items())
    notes = [f"{dataset}: the splits are those of the data: {counts} images."]
    missing = [split for split in SPLITS if split not in parts]
    if not missing:
        return {split: parts[split] for split in SPLITS}, notes
    train = parts["train"]
    num_cut = max(1, len(train) // FRACTION)
    if len(train) <= num_cut:
        raise ValueError(
            f"{dataset}: {len(train)} training images are too few to cut {missing[0]} from them; "
            "add images, or a split"
        )
    kept, cut, _ = draw_split_indices(len(train), num_cut, 0, seed)
    notes.append(
        f"{dataset}: the data has no {missing[0]} split, so {num_cut:,} of the training images "
        f"are cut by seed {seed} for it."
    )
    complete = {**parts, "train": train[kept], missing[0]: train[cut]}
    return {split: complete[split] for split in SPLITS}, notes


def _cut_all(
    dataset: str, index: NDArray[np.int64], seed: int
) -> tuple[dict[str, NDArray[np.int64]], list[str]]:
    """Cut images without splits into 6/8 train, 1/8 val and 1/8 test."""
    total = len(index)
    if total < len(SPLITS):
        raise ValueError(f"{dataset}: three splits need at least 3 images, got {total}")
    held_out = max(1, total // FRACTION)
    cuts = draw_split_indices(total, held_out, held_out, seed)
    note = (
        f"{dataset}: {total:,} images, cut by seed {seed} into {total - 2 * held_out:,} train, "
        f"{held_out:,} val and {held_out:,} test images."
    )
    return {split: index[cut] for split, cut in zip(SPLITS, cuts, strict=True)}, [note]


def number_classes(what: str, labels: NDArray[np.int64]) -> tuple[str, ...]:
    """The names of classes that only have numbers.

    Args:
        what: What holds the labels, for messages.
        labels: The class of each image, at least one.

    Returns:
        "0", "1" and so on up to the largest class.

    Raises:
        ValueError: The labels are no numbers of classes.
    """
    largest = int(labels.max())
    if largest >= MAX_CLASSES:
        raise ValueError(
            f"{what}: labels are the numbers of classes, counted from 0 and less than "
            f"{MAX_CLASSES:,}, got {largest:,}; number them with "
            "numpy.unique(labels, return_inverse=True)"
        )
    return tuple(str(number) for number in range(largest + 1))
