"""The 1,797 handwritten digits of 8 x 8 pixels that are part of scikit-learn."""

from dataclasses import dataclass

import numpy as np

from genae_core.config import register
from genae_core.data.base import ArraySource, Source, Split, take
from genae_core.data.official_files import check_flags, draw_split_indices

NUM_VAL, NUM_TEST = 360, 360
MAX_VALUE = 16  # the largest value of load_digits


@register("data.digits")
@dataclass(frozen=True, kw_only=True)
class DigitsConfig:
    """Handwritten digits that need no files and are small enough for tests and first steps.

    They are the test part of Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten
    Digits".

    Args:
        binarize: Whether models and metrics see pixels thresholded at one half.

    Raises:
        ValueError: A field is not a bool.
    """

    binarize: bool = False

    def __post_init__(self) -> None:
        check_flags(binarize=self.binarize)

    @property
    def name(self) -> str:
        return "digits"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, 8, 8)

    def stamp(self) -> str:
        return "scikit-learn"  # Every release has the same images.

    def source(self) -> Source:
        from sklearn.datasets import load_digits

        data = load_digits()
        images = np.round(data.images * (255 / MAX_VALUE)).astype(np.uint8)[:, None]
        whole = Split(images, data.target.astype(np.int64))
        train, val, test = (
            take(whole, i) for i in draw_split_indices(len(images), NUM_VAL, NUM_TEST)
        )
        note = (
            f"digits: the splits are a seeded cut of our own, {len(train.images):,} train, "
            f"{NUM_VAL} val and {NUM_TEST} test images."
        )
        splits = {"train": train, "val": val, "test": test}
        return ArraySource(splits, self.shape, self.stamp(), notes=(note,))
