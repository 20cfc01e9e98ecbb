"""Kuzushiji-MNIST: handwritten hiragana, in MNIST's idx files."""

from dataclasses import dataclass

from genae_core.config import register
from genae_core.data.base import Source
from genae_core.data.idx_files import read_set, stamp_set
from genae_core.data.idx_sets import KMNIST
from genae_core.data.official_files import check_flags, check_source


@register("data.kmnist")
@dataclass(frozen=True, kw_only=True)
class KMNISTConfig:
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

    def __post_init__(self) -> None:
        check_source(self.root, self.download)
        check_flags(binarize=self.binarize)

    @property
    def name(self) -> str:
        return KMNIST.name

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, 28, 28)

    def stamp(self) -> str:
        return stamp_set(KMNIST, self.root, self.download)

    def source(self) -> Source:
        return read_set(KMNIST, self.root, self.download)
