"""CIFAR-10 and CIFAR-100, which are read from their Python or their binary version."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from genae_core.config import register
from genae_core.data.base import ArraySource, Source, Split
from genae_core.data.cifar_files import (
    BINARY10,
    BINARY100,
    PYTHON10,
    PYTHON100,
    SIDE,
    CifarVersion,
    read_file,
)
from genae_core.data.cifar_names import CIFAR10_CLASSES, CIFAR100_CLASSES
from genae_core.data.images import check_size
from genae_core.data.official_files import (
    Layout,
    Location,
    check_source,
    explain_missing,
    find_or_fetch,
    list_complete,
    only_one,
    partial_note,
    split_reference,
)
from genae_core.data.storage import Folder

NUM_TRAIN, NUM_TEST = 50_000, 10_000


class CifarSet(NamedTuple):
    """One of the two datasets: its name, its classes, and its Python and binary versions."""

    name: str
    classes: tuple[str, ...]
    versions: tuple[CifarVersion, CifarVersion]

    def layouts(self) -> list[tuple[CifarVersion, Layout]]:
        """The versions, and where the files of each lie."""
        return [(version, self._layout(version)) for version in self.versions]

    def _layout(self, version: CifarVersion) -> Layout:
        folders = (version.folder, f"{self.name}/{version.folder}")
        archive = f"{version.folder} comes from an archive (.tar.gz) that has to be unpacked first"
        return Layout(
            self.name,
            folders,
            (*version.train, version.test),
            signs={
                name: archive
                for name in ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")
                + ("cifar-100-python.tar.gz", "cifar-100-binary.tar.gz")
            },
        )


CIFAR10 = CifarSet("cifar10", CIFAR10_CLASSES, (PYTHON10, BINARY10))
CIFAR100 = CifarSet("cifar100", CIFAR100_CLASSES, (PYTHON100, BINARY100))


def _locate(cifar: CifarSet, root: str, download: bool) -> tuple[CifarVersion, Location]:
    """The version of the files, and where they lie. Raises ValueError if they are missing."""
    (_, python), _ = cifar.layouts()
    place = find_or_fetch(partial(_find, cifar), python, root, download)
    if place is None:
        raise ValueError(f"{explain_missing(python, root)}. The binary version is read as well")
    return place


def _find(cifar: CifarSet, base: Folder) -> tuple[CifarVersion, Location] | None:
    """The first version that is there completely, in its usual place or elsewhere."""
    for version, layout in cifar.layouts():
        usual = layout.open_usual(base)
        if usual is not None:
            return version, usual
    for version, layout in cifar.layouts():
        location = only_one(cifar.name, base, list_complete(layout, base))
        if location is not None:
            return version, location
    return None


def _source(cifar: CifarSet, root: str, size: int, download: bool) -> Source:
    """Read all files. Raises ValueError if one has another content."""
    version, location = _locate(cifar, root, download)
    _refuse_extra(version, location)
    notes = list(location.notes)
    parts = []
    for files, official in ((version.train, NUM_TRAIN), ((version.test,), NUM_TEST)):
        splits = [
            read_file(
                location.folder,
                location.files[file],
                version,
                len(cifar.classes),
                official // len(files),
            )
            for file in files
        ]
        part = Split(
            np.concatenate([split.images for split in splits]),
            np.concatenate([split.labels for split in splits]),
        )
        if len(part.images) != official:
            names = ", ".join(files)
            notes.append(partial_note(cifar.name, names, len(part.images), official))
        parts.append(part)
    train, test = parts
    return ArraySource(
        split_reference(cifar.name, train, test),
        (3, size, size),
        location.stamp(),
        label_names=cifar.classes,
        notes=tuple(notes),
    )


def _refuse_extra(version: CifarVersion, location: Location) -> None:
    """Raise ValueError if there are more training files than the dataset has."""
    _, files = location.folder.children()
    extra = [name for name in files if name.startswith("data_batch_")]
    extra = [name for name in extra if name not in version.train and len(version.train) > 1]
    if extra:
        raise ValueError(
            f"{location.folder.uri} holds {', '.join(extra)}, which are none of the dataset's "
            f"files ({', '.join(version.train)}): move them away"
        )


class CifarMethods:
    """The methods of both configs, which have the fields and say which dataset they are."""

    root: str
    size: int
    download: bool

    def __post_init__(self) -> None:
        check_source(self.root, self.download)
        check_size(self.size)

    @property
    def cifar(self) -> CifarSet:
        """The dataset."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        return self.cifar.name

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3, self.size, self.size)

    @property
    def binarize(self) -> bool:
        return False

    def stamp(self) -> str:
        _, location = _locate(self.cifar, self.root, self.download)
        return location.stamp()

    def source(self) -> Source:
        return _source(self.cifar, self.root, self.size, self.download)


@register("data.cifar10")
@dataclass(frozen=True, kw_only=True)
class CIFAR10Config(CifarMethods):
    """Photographs of 32 x 32 pixels in 10 classes (Krizhevsky 2009).

    There are 50,000 training images; val and test are the halves of the 10,000 test images. The
    files of the Python version are pickles, which genae reads without unpickling them.

    Args:
        root: A folder with cifar-10-batches-py/ or cifar-10-batches-bin/, which may also lie
            elsewhere below it.
        size: The images are resized to size x size pixels.
        download: Whether torchvision downloads missing files.

    Raises:
        ValueError: A field is out of range.
    """

    root: str
    size: int = SIDE
    download: bool = False

    @property
    def cifar(self) -> CifarSet:
        return CIFAR10


@register("data.cifar100")
@dataclass(frozen=True, kw_only=True)
class CIFAR100Config(CifarMethods):
    """Photographs of 32 x 32 pixels in 100 classes (Krizhevsky 2009).

    There are 50,000 training images; val and test are the halves of the 10,000 test images. The
    files of the Python version are pickles, which genae reads without unpickling them.

    Args:
        root: A folder with cifar-100-python/ or cifar-100-binary/, which may also lie elsewhere
            below it.
        size: The images are resized to size x size pixels.
        download: Whether torchvision downloads missing files.

    Raises:
        ValueError: A field is out of range.
    """

    root: str
    size: int = SIDE
    download: bool = False

    @property
    def cifar(self) -> CifarSet:
        return CIFAR100
