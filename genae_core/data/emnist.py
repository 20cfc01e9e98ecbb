"""EMNIST: handwritten digits and letters, six subsets in MNIST's idx files."""

from dataclasses import dataclass
from typing import get_args

from genae_core.config import register, require
from genae_core.data.base import Source
from genae_core.data.idx_files import read_set, stamp_set
from genae_core.data.idx_sets import EMNIST, Subset
from genae_core.data.official_files import check_flags, check_source


@register("data.emnist")
@dataclass(frozen=True, kw_only=True)
class EMNISTConfig:
    """Handwritten digits and letters of 28 x 28 pixels (Cohen et al. 2017).

    The files hold columns in place of rows; the images are turned upright. Val and test are the
    halves of the test images.

    Args:
        root: A folder with EMNIST/raw/ (torchvision's layout). The four idx files may also lie
            elsewhere below it, for example where MNIST's usually do.
        subset: "balanced" (47 classes), "byclass" (62), "bymerge" (47), "digits" (10),
            "letters" (26) or "mnist" (10).
        binarize: Whether models and metrics see pixels thresholded at one half.
        download: Whether torchvision downloads missing files.

    Raises:
        ValueError: A field is out of range.
    """

    root: str
    subset: Subset = "balanced"
    binarize: bool = True
    download: bool = False

    def __post_init__(self) -> None:
        check_source(self.root, self.download)
        check_flags(binarize=self.binarize)
        require(
            self.subset in get_args(Subset),
            f"subset must be one of {', '.join(get_args(Subset))}",
            subset=self.subset,
        )

    @property
    def name(self) -> str:
        return EMNIST[self.subset].name

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, 28, 28)

    def stamp(self) -> str:
        return stamp_set(EMNIST[self.subset], self.root, self.download)

    def source(self) -> Source:
        return read_set(EMNIST[self.subset], self.root, self.download)
