"""What the configs of datasets in MNIST's idx files share."""

from genae_core.data.base import Source
from genae_core.data.idx_files import locate_set, read_set
from genae_core.data.idx_sets import IdxSet
from genae_core.data.mnist_files import SIDE
from genae_core.data.official_files import check_flags, check_source


class IdxMethods:
    """The methods of these configs, which have the fields and say which set they are."""

    root: str
    binarize: bool
    download: bool

    def __post_init__(self) -> None:
        check_source(self.root, self.download)
        check_flags(binarize=self.binarize)

    @property
    def idx_set(self) -> IdxSet:
        """The set."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        return self.idx_set.name

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, SIDE, SIDE)

    def stamp(self) -> str:
        return locate_set(self.idx_set, self.root, self.download).stamp()

    def source(self) -> Source:
        return read_set(self.idx_set, self.root, self.download)
