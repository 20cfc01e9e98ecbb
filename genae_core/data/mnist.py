"""MNIST, which is read from its idx files."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genae_core.config import register
from genae_core.data.base import ArraySource, Source, Split
from genae_core.data.official_files import (
    Layout,
    check_digest,
    check_flags,
    check_source,
    locate,
    partial_note,
    split_reference,
    stamp,
)
from genae_core.data.storage import Folder
from genae_core.data.unpacking import unpack_gzip

SHA256 = {  # the digests of the unpacked official files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
COUNTS = {"train": 60_000, "t10k": 10_000}
LAYOUT = Layout("mnist", ("MNIST/raw", "mnist/MNIST/raw"), tuple(SHA256), ("", ".gz"))
# The third byte of an idx file's magic number is the type; the fourth counts the dimensions.
UNSIGNED_BYTES = 0x08


@register("data.mnist")
@dataclass(frozen=True, kw_only=True)
class MNISTConfig:
    """Handwritten digits of 28 x 28 pixels (LeCun, Bottou, Bengio and Haffner 1998).

    There are 60,000 training images; val and test are the halves of the 10,000 test images.

    Args:
        root: A folder with MNIST/raw/ (torchvision's layout) or mnist/MNIST/raw/.
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
        return "mnist"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, 28, 28)

    def stamp(self) -> str:
        folder = locate(LAYOUT, self.root, self.download)
        return stamp(file for file in folder.files() if file.name.removesuffix(".gz") in SHA256)

    def source(self) -> Source:
        folder = locate(LAYOUT, self.root, self.download)
        train, test = _read_part(folder, "train"), _read_part(folder, "t10k")
        notes = tuple(
            partial_note("mnist", f"{part}-images-idx3-ubyte", len(split.images), count)
            for (part, count), split in zip(COUNTS.items(), (train, test), strict=True)
            if len(split.images) != count
        )
        splits = split_reference("mnist", train, test)
        return ArraySource(splits, self.shape, self.stamp(), notes=notes)


def _read_part(folder: Folder, part: str) -> Split:
    """The images and labels of "train" or "t10k". Raises ValueError for malformed files."""
    images = _read_idx(folder, f"{part}-images-idx3-ubyte", COUNTS[part], (28, 28))
    labels = _read_idx(folder, f"{part}-labels-idx1-ubyte", COUNTS[part], ())
    if len(images) != len(labels):
        raise ValueError(
            f"{folder.uri}: the {part} files do not belong together, {len(images):,} images but "
            f"{len(labels):,} labels"
        )
    if labels.max(initial=0) > 9:
        raise ValueError(
            f"{folder.path_of(f'{part}-labels-idx1-ubyte')}: labels must be 0..9, got "
            f"{labels.max()}"
        )
    return Split(images[:, None], labels.astype(np.int64))


def _read_idx(
    folder: Folder, name: str, official: int, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """The array uint8 [N, *shape] in an idx file, or in its .gz file if only that exists.

    Raises ValueError for another format, for a length that contradicts the header, and for a
    file that has the `official` number of items but not the official content.
    """
    packed = not folder.exists(name)
    path = folder.path_of(f"{name}.gz" if packed else name)
    content: bytes | bytearray = folder.read(f"{name}.gz" if packed else name)
    if packed:
        content = unpack_gzip(bytes(content), path)
    num_dims = 1 + len(shape)
    start = 4 * (1 + num_dims)
    magic = UNSIGNED_BYTES << 8 | num_dims
    if (number := int.from_bytes(content[:4], "big")) != magic:
        raise ValueError(f"{path}: expected an idx file, magic number {magic}, found {number}")
    if len(content) < start:
        raise ValueError(f"{path}: it ends within its header, after {len(content)} bytes")
    count, *dims = (int(n) for n in np.frombuffer(content, ">u4", num_dims, offset=4))
    if tuple(dims) != shape:
        raise ValueError(f"{path}: expected images of 28 x 28, found {' x '.join(map(str, dims))}")
    length = start + count * int(np.prod(shape))
    if len(content) != length:
        raise ValueError(
            f"{path}: its header says {count:,} items, which take {length:,} bytes, but it has "
            f"{len(content):,}; is it incomplete?"
        )
    if count == official:
        check_digest(path, content, "sha256", SHA256[name])
    items = np.frombuffer(content, np.uint8, offset=start).reshape(count, *shape)
    return np.require(items, requirements="W")
