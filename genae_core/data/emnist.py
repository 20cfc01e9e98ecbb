"""EMNIST: handwritten digits and letters, six subsets in MNIST's idx files."""

from dataclasses import dataclass
from typing import get_args

from genae_core.config import register, require
from genae_core.data.idx_methods import IdxMethods
from genae_core.data.idx_sets import EMNIST, IdxSet, Subset


@register("data.emnist")
@dataclass(frozen=True, kw_only=True)
class EMNISTConfig(IdxMethods):
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
        super().__post_init__()
        require(
            self.subset in get_args(Subset),
            f"subset must be one of {', '.join(get_args(Subset))}",
            subset=self.subset,
        )

    @property
    def idx_set(self) -> IdxSet:
        return EMNIST[self.subset]
