"""Kuzushiji-MNIST: handwritten hiragana, in MNIST's idx files."""

from dataclasses import dataclass

from genae_core.config import register
from genae_core.data.idx_methods import IdxMethods
from genae_core.data.idx_sets import KMNIST, IdxSet


@register("data.kmnist")
@dataclass(frozen=True, kw_only=True)
class KMNISTConfig(IdxMethods):
    """Ten handwritten hiragana of 28 x 28 pixels (Clanuwat et al. 2018).

    There are 60,000 training images; val and test are the halves of the 10,000 test images.

    Args:
        root: A folder with KMNIST/raw/ (torchvision's layout). The four idx files may also lie
            elsewhere below it, for example where MNIST's usually do.
        binarize: Whether models and metrics see pixels thresholded at one half.
        download: Whether torchvision downloads missing files.

    Raises:
        ValueError: A field is out of range.
    """

    root: str
    binarize: bool = True
    download: bool = False

    @property
    def idx_set(self) -> IdxSet:
        return KMNIST
