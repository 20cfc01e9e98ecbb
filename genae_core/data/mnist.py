"""MNIST, which is read from its idx files, Keras' mnist.npz or Kaggle's tables."""

from dataclasses import dataclass

import numpy as np

from genae_core.config import register
from genae_core.data.base import ArraySource, Source, Split
from genae_core.data.idx_files import recognise
from genae_core.data.idx_sets import official_name
from genae_core.data.mnist_files import COUNTS, SHA256, Digits, read_csv, read_idx, read_npz
from genae_core.data.official_files import (
    Layout,
    Location,
    check_flags,
    check_source,
    find_elsewhere,
    locate,
    partial_note,
    split_reference,
    stamp,
)
from genae_core.data.storage import Folder

LAYOUT = Layout(
    name="mnist",
    folders=("MNIST/raw", "mnist/MNIST/raw"),
    files=tuple(SHA256),
    endings=("", ".gz"),
    official_name=official_name,
    others=("fashion", "kmnist", "kuzushiji", "emnist", "qmnist", "notmnist"),
    signs={
        "train.csv": (
            "train.csv, as in Kaggle's Digit Recognizer, has no test images with labels; "
            "mnist_train.csv and mnist_test.csv are read"
        ),
        "mnist_png": "images as single files, which the dataset image_folder reads",
    }
    | {
        f"emnist-{part}-train-images-idx3-ubyte": f"EMNIST's {part}, which is another dataset"
        for part in ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")
    },
)
NPZ = Layout("mnist", (), ("mnist.npz",))
CSV = Layout("mnist", (), ("mnist_train.csv", "mnist_test.csv"))


@register("data.mnist")
@dataclass(frozen=True, kw_only=True)
class MNISTConfig:
    """Handwritten digits of 28 x 28 pixels (LeCun, Bottou, Bengio and Haffner 1998).

    There are 60,000 training images; val and test are the halves of the 10,000 test images.

    Args:
        root: A folder with MNIST/raw/ (torchvision's layout) or mnist/MNIST/raw/. The idx files,
            Keras' mnist.npz or mnist_train.csv and mnist_test.csv may also lie elsewhere below it.
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
        location = self._locate()
        wanted = {*location.files.values(), *SHA256, *(f"{name}.gz" for name in SHA256)}
        return stamp(file for file in location.folder.files() if file.name in wanted)

    def source(self) -> Source:
        location = self._locate()
        _refuse_look_alikes(location)
        train, test = (_to_split(location, part, _read_part(location, part)) for part in COUNTS)
        notes = location.notes + tuple(
            partial_note("mnist", _name_images(location, part), len(split.images), count)
            for (part, count), split in zip(COUNTS.items(), (train, test), strict=True)
            if len(split.images) != count
        )
        splits = split_reference("mnist", train, test)
        return ArraySource(splits, self.shape, self.stamp(), notes=notes)

    def _locate(self) -> Location:
        """Where the files lie, in the first of the formats that is there completely."""
        return _find(Folder(self.root)) or locate(LAYOUT, self.root, self.download)


def recognise_mnist(root: str) -> str:
    """The name of the dataset whose files lie where MNIST's are expected.

    Fashion-MNIST, KMNIST and EMNIST are often handed around under MNIST's names of files.

    Args:
        root: The data root.

    Returns:
        The name of the dataset whose digests the files have; "mnist" if they are unknown or
        there are none.
    """
    try:
        location = _find(Folder(root))
        known = None if location is None else recognise(location)
    except (ValueError, OSError):  # Reading the dataset says what is wrong.
        known = None
    return "mnist" if known is None else known.name


def _find(base: Folder) -> Location | None:
    """The place of MNIST's files in the first of the formats that is there completely, or None."""
    usual = LAYOUT.open_usual(base)
    if usual is not None:
        return usual
    for layout in (LAYOUT, NPZ, CSV):
        location = find_elsewhere(layout, base)
        if location is not None:
            return location
    return None


def _refuse_look_alikes(location: Location) -> None:
    """Raise ValueError if the files are those of another dataset."""
    known = recognise(location)
    if known is not None and known.name != "mnist":
        raise ValueError(
            f"mnist: {location.folder.uri} holds {known.title}, by the digests of its files: "
            f"choose the dataset {known.name}"
        )


def _read_part(location: Location, part: str) -> Digits:
    """The images and labels of "train" or "t10k". Raises ValueError for malformed files."""
    folder, files = location.folder, location.files
    if "mnist.npz" in files:
        return read_npz(folder, files["mnist.npz"])[part]
    if "mnist_train.csv" in files:
        return read_csv(folder, files[_name_images(location, part)], part)
    names = (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
    images, labels = (
        read_idx(folder, files[name], name=name, official=COUNTS[part], shape=shape)
        for name, shape in zip(names, ((28, 28), ()), strict=True)
    )
    return Digits(images, labels)


def _name_images(location: Location, part: str) -> str:
    """The official name of the file that holds the images of "train" or "t10k"."""
    if "mnist.npz" in location.files:
        return "mnist.npz"
    if "mnist_train.csv" in location.files:
        return "mnist_train.csv" if part == "train" else "mnist_test.csv"
    return f"{part}-images-idx3-ubyte"


def _to_split(location: Location, part: str, digits: Digits) -> Split:
    """The split of a part. Raises ValueError if images and labels do not belong together."""
    images, labels = digits
    if len(images) != len(labels):
        raise ValueError(
            f"{location.folder.uri}: the {part} files do not belong together, {len(images):,} "
            f"images but {len(labels):,} labels"
        )
    if labels.max(initial=0) > 9:
        file = location.files.get(f"{part}-labels-idx1-ubyte", _name_images(location, part))
        raise ValueError(
            f"{location.folder.path_of(file)}: labels must be 0..9, got {labels.max()}; is it "
            "EMNIST, which has letters?"
        )
    return Split(images[:, None], labels.astype(np.int64))
