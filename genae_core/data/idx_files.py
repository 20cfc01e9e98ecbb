"""How the idx files of a dataset of MNIST's kind are found, told apart and read.

These sets are handed around under the same names of files, so a set is recognised by the digest of
its test labels, the smallest file. Of some sets only the digests of the packed files are known.
Shapes: N images.
"""

import contextlib
import hashlib
from functools import partial

import numpy as np

from genae_core.data.base import ArraySource, Split
from genae_core.data.idx_sets import ALL, TEST, TRAIN, IdxSet
from genae_core.data.mnist_files import GZIP, SIDE, IdxFile, open_idx
from genae_core.data.official_files import (
    Location,
    check_digest,
    explain_missing,
    find_or_fetch,
    list_complete,
    only_one,
    partial_note,
    split_reference,
)
from genae_core.data.storage import Folder
from genae_core.data.unpacking import unpack_gzip

TEST_LABELS = TEST[1]


def recognise(location: Location) -> IdxSet | None:
    """The set whose test labels lie at a place, by their digest.

    Args:
        location: The place of the files.

    Returns:
        The set; None if the digest is unknown or there are no such files.
    """
    file = location.files.get(TEST_LABELS)
    if file is None:
        return None
    stored = location.folder.read(file)
    digests = {_digest("md5", stored), _digest("sha256", stored)}
    if stored.startswith(GZIP):
        with contextlib.suppress(ValueError):  # Reading the file says what is wrong.
            content = unpack_gzip(stored, location.folder.path_of(file))
            digests.add(_digest("sha256", content))
    for idx_set in ALL:
        if {idx_set.unpacked.get(TEST_LABELS), idx_set.packed.get(TEST_LABELS)} & digests:
            return idx_set
    return None


def locate_set(idx_set: IdxSet, root: str, download: bool) -> Location:
    """Find the files of a set, under their own names or under MNIST's.

    Args:
        idx_set: The set.
        root: The data root.
        download: Whether missing files are downloaded first.

    Returns:
        The place, whose files are named as MNIST's.

    Raises:
        ValueError: The files are missing, or are those of another set; or several folders hold
            them.
    """
    own = idx_set.layouts[0]
    location = find_or_fetch(partial(_find, idx_set), own, root, download)
    if location is None:
        raise ValueError(explain_missing(own, root))
    return location


def _find(idx_set: IdxSet, base: Folder) -> Location | None:
    """The place of the files of a set, or None. Raises ValueError if another set is there."""
    own, unknown, others = [], [], []
    for number, layout in enumerate(idx_set.layouts):
        usual = layout.open_usual(base)
        places = [] if usual is None else [usual]
        places += [
            place
            for place in list_complete(layout, base)
            if usual is None or place.folder.uri != usual.folder.uri
        ]
        for place in places:
            place = place._replace(files=_rename(idx_set, place.files))
            known = recognise(place)
            if known is not None and known.name == idx_set.name:
                own.append(place)
            elif known is not None:
                others.append((place, known))
            elif number == 0:
                if usual is not None and place.folder.uri == usual.folder.uri:
                    return place
                unknown.append(place)
    location = only_one(idx_set.name, base, own) or only_one(idx_set.name, base, unknown)
    if location is None and others:
        place, known = others[0]
        raise ValueError(
            f"{idx_set.name}: {place.folder.uri} holds {known.title}, by the digests of its "
            f"files: choose the dataset {known.name}"
        )
    return location


def _rename(idx_set: IdxSet, files: dict[str, str]) -> dict[str, str]:
    """The files by MNIST's names."""
    by_own = {own: name for name, own in idx_set.names.items()}
    return {by_own.get(name, name): path for name, path in files.items()}


def read_set(idx_set: IdxSet, root: str, download: bool) -> ArraySource:
    """Read and check the four files of a set.

    Args:
        idx_set: The set.
        root: The data root.
        download: Whether missing files are downloaded first.

    Returns:
        The source; val and test are the halves of the test images.

    Raises:
        ValueError: The files are missing, malformed, or not the official ones.
    """
    location = locate_set(idx_set, root, download)
    parts, notes, unchecked = [], list(location.notes), []
    for names, official in zip((TRAIN, TEST), idx_set.counts, strict=True):
        images, labels = (
            open_idx(location.folder, location.files[name], shape)
            for name, shape in zip(names, ((SIDE, SIDE), ()), strict=True)
        )
        parts.append(_to_split(idx_set, images, labels))
        if len(images.items) == len(labels.items) == official:
            unchecked += [
                file.path
                for name, file in zip(names, (images, labels), strict=True)
                if not _check_official(idx_set, name, file)
            ]
        else:
            notes.append(partial_note(idx_set.name, images.path, len(images.items), official))
    if unchecked:
        notes.append(
            f"{idx_set.name}: {', '.join(unchecked)} cannot be compared with the official files: "
            "genae knows their digests only as their makers packed them."
        )
    train, test = parts
    return ArraySource(
        split_reference(idx_set.name, train, test),
        (1, SIDE, SIDE),
        location.stamp(),
        label_names=idx_set.classes,
        notes=tuple(notes),
    )


def _to_split(idx_set: IdxSet, images: IdxFile, labels: IdxFile) -> Split:
    """The split of a part. Raises ValueError if images and labels do not belong together."""
    if len(images.items) != len(labels.items):
        raise ValueError(
            f"{images.path} and {labels.path} do not belong together: {len(images.items):,} "
            f"images, but {len(labels.items):,} labels"
        )
    classes = labels.items.astype(np.int64) - idx_set.first_label
    outside = (classes < 0) | (classes >= len(idx_set.classes))
    if outside.any():
        last = idx_set.first_label + len(idx_set.classes) - 1
        raise ValueError(
            f"{labels.path}: the labels of {idx_set.title} are {idx_set.first_label}..{last}, got "
            f"{labels.items[outside][0]}"
        )
    pixels = images.items.transpose(0, 2, 1) if idx_set.transposed else images.items
    return Split(np.ascontiguousarray(pixels)[:, None], classes)


def _check_official(idx_set: IdxSet, name: str, file: IdxFile) -> bool:
    """Whether a file of the official number of items is known to be the official one.

    Raises ValueError if it is known to be another one.
    """
    if name in idx_set.unpacked:
        check_digest(file.path, file.content, "sha256", idx_set.unpacked[name], "another set")
        return True
    packed = idx_set.packed.get(name)
    return packed in (_digest("md5", file.stored), _digest("sha256", file.stored))


def _digest(algorithm: str, content: bytes | bytearray) -> str:
    """The digest (hex) of some bytes."""
    return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
