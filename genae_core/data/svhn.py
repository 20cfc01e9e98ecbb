"""SVHN's cropped digits (format 2), from its MATLAB files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from genae_core.data.base import Split, Splits
from genae_core.data.files import (
    Layout,
    check_digest,
    check_source,
    locate,
    partial_note,
    with_halves,
)
from genae_core.data.images import check_size, resize

SIDE = 32
OFFICIAL = {  # the number of images and the file's md5
    "train_32x32.mat": (73_257, "e26dedcc434d2e4c54c9b2d4a06d8373"),
    "test_32x32.mat": (26_032, "eb5a983be6a315427106f1b164d9cef3"),
}
LAYOUT = Layout("svhn", ("", "svhn"), tuple(OFFICIAL))


@dataclass(frozen=True, kw_only=True)
class SVHNConfig:
    """73,257 training images; val and test are the halves of the 26,032 test images.

    root: a folder with the two .mat files, or with svhn/ that has them.
    size: the images are resized to size x size pixels.
    Netzer et al. 2011; Creswell et al. 2017 resize to 64 x 64.
    """

    root: str
    size: int = 64
    download: bool = False

    def __post_init__(self) -> None:
        check_source(self.root, self.download)
        check_size(self.size)

    @property
    def name(self) -> str:
        return "svhn"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3, self.size, self.size)

    @property
    def binarize(self) -> bool:
        return False

    def load(self) -> Splits:
        folder = locate(LAYOUT, self.root, self.download)
        train, test = (_read_mat(folder / name, self.size) for name in OFFICIAL)
        notes = tuple(
            partial_note("svhn", folder / name, len(split.images), count)
            for (name, (count, _)), split in zip(OFFICIAL.items(), (train, test), strict=True)
            if len(split.images) != count
        )
        return with_halves("svhn", train, test, notes)


def _read_mat(path: Path, size: int) -> Split:
    """The images, resized, and the labels; the file has [H, W, C, N] and writes digit 0 as 10.

    Raises ValueError for a file that is cut or of another content.
    """
    try:
        content = loadmat(path, variable_names=("X", "y"))
    except Exception as error:  # scipy lets zlib's, struct's and its own errors through
        raise ValueError(
            f"{path} is not a whole MATLAB 5 file ({type(error).__name__}: {error}); was a "
            "download interrupted?"
        ) from error
    if absent := [key for key in ("X", "y") if key not in content]:
        raise ValueError(f"{path} lacks {' and '.join(absent)}; a whole file has X and y")
    pixels, labels = content["X"], content["y"]
    if pixels.ndim == 3:  # MATLAB drops a last dimension of one
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
    official, md5 = OFFICIAL[path.name]
    if count == official:
        check_digest(path, path.read_bytes(), "md5", md5)
    digits = labels[:, 0].astype(np.int64) % 10
    return Split(resize(pixels.transpose(3, 2, 0, 1), size), digits)
