"""The cropped digits of SVHN (format 2), which are read from its MATLAB files."""

from dataclasses import dataclass

import numpy as np

from genae_core.config import register
from genae_core.data.base import ArraySource, Source, Split
from genae_core.data.images import check_size
from genae_core.data.matlab import read_arrays
from genae_core.data.official_files import (
    Layout,
    Location,
    check_digest,
    check_flags,
    check_source,
    locate,
    partial_note,
    split_reference,
)
from genae_core.data.storage import Folder

SIDE = 32
OFFICIAL = {  # the number of images and the md5 of each file
    "train_32x32.mat": (73_257, "e26dedcc434d2e4c54c9b2d4a06d8373"),
    "test_32x32.mat": (26_032, "eb5a983be6a315427106f1b164d9cef3"),
    "extra_32x32.mat": (531_131, "a93ce644f1a588dc4d68dda5feec44a7"),
}
EXTRA = "extra_32x32.mat"
LAYOUT = Layout(
    "svhn",
    ("", "svhn"),
    ("train_32x32.mat", "test_32x32.mat"),
    official_name=str.lower,
    signs={
        "digitstruct.mat": (
            "digitStruct.mat belongs to format 1 of SVHN, whole house numbers; the cropped digits "
            "are format 2"
        )
    },
)
LAYOUT_EXTRA = LAYOUT._replace(files=(*LAYOUT.files, EXTRA))


@register("data.svhn")
@dataclass(frozen=True, kw_only=True)
class SVHNConfig:
    """House numbers of 32 x 32 pixels (Netzer et al. 2011), resized.

    There are 73,257 training images; val and test are the halves of the 26,032 test images.
    Creswell et al. 2017 resize the images to 64 x 64 pixels.

    Args:
        root: A folder with the .mat files, or with a folder svhn/ that holds them.
        size: The images are resized to size x size pixels.
        extra: Whether the 531,131 easier images of extra_32x32.mat join the training split.
        download: Whether torchvision downloads missing files.

    Raises:
        ValueError: A field is out of range.
    """

    root: str
    size: int = 64
    extra: bool = False
    download: bool = False

    def __post_init__(self) -> None:
        check_source(self.root, self.download)
        check_size(self.size)
        check_flags(extra=self.extra)

    @property
    def name(self) -> str:
        return "svhn"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3, self.size, self.size)

    @property
    def binarize(self) -> bool:
        return False

    def stamp(self) -> str:
        _, place = self._locate()
        return place.stamp()

    def source(self) -> Source:
        layout, place = self._locate()
        parts = {name: _read_mat(place.folder, place.files[name], name) for name in layout.files}
        notes = place.notes + tuple(
            partial_note("svhn", name, len(split.images), OFFICIAL[name][0])
            for name, split in parts.items()
            if len(split.images) != OFFICIAL[name][0]
        )
        train, test = parts["train_32x32.mat"], parts["test_32x32.mat"]
        if self.extra:
            images = np.concatenate([train.images, parts[EXTRA].images])
            train = Split(images, np.concatenate([train.labels, parts[EXTRA].labels]))
        splits = split_reference("svhn", train, test)
        return ArraySource(splits, self.shape, self.stamp(), notes=notes)

    def _locate(self) -> tuple[Layout, Location]:
        """The layout of the files, and where they lie."""
        layout = LAYOUT_EXTRA if self.extra else LAYOUT
        return layout, locate(layout, self.root, self.download)


def _read_mat(folder: Folder, file: str, name: str) -> Split:
    """The images and labels of a file, whose images are [H, W, C, N] and whose digit 0 is 10.

    Its official name decides which content is the official one.

    Raises ValueError if the file is incomplete or has another content.
    """
    path, raw = folder.path_of(file), folder.read(file)
    try:
        content = read_arrays(raw, ("X", "y"))
    except ValueError as error:
        raise ValueError(f"{path} is not a whole MATLAB 5 file as SVHN has: {error}") from None
    if absent := [key for key in ("X", "y") if key not in content]:
        raise ValueError(f"{path} lacks {' and '.join(absent)}; a whole file has X and y")
    pixels, labels = content["X"], content["y"]
    if pixels.ndim == 3:  # MATLAB drops a last dimension of size 1.
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (SIDE, SIDE, 3):
        raise ValueError(
            f"{path}: X must be uint8 of shape (32, 32, 3, N), got {pixels.dtype} of "
            f"{pixels.shape}"
        )
    count = pixels.shape[3]
    if labels.shape != (count, 1) or labels.dtype.kind not in "iuf":
        raise ValueError(
            f"{path}: y must be numbers of shape ({count}, 1), one for each image of X, got "
            f"{labels.dtype} of {labels.shape}"
        )
    if not np.isin(labels, np.arange(1, 11)).all():
        wrong = labels[~np.isin(labels, np.arange(1, 11))][0]
        raise ValueError(f"{path}: labels must be 1..10, got {wrong}")
    official, md5 = OFFICIAL[name]
    if count == official:
        check_digest(path, raw, "md5", md5)
    digits = labels[:, 0].astype(np.int64) % 10
    return Split(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), digits)
