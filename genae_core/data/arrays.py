"""A user's own images in numpy's files: an .npz file, or .npy files.

Shapes: N images, H rows, W columns, C channels, A binary attributes.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.config import register, require, require_positive_int
from genae_core.data.array_files import (
    Role,
    find_roles,
    open_files,
    read_headers,
    read_values,
)
from genae_core.data.base import SPLITS, ArraySource, Source, Split, take
from genae_core.data.folder_tree import split_named
from genae_core.data.images import check_size, to_grey
from genae_core.data.official_files import check_source, check_split_seed
from genae_core.data.own_splits import WHOLE, complete_splits, number_classes

Labels = NDArray[np.int64] | NDArray[np.uint8]
BYTE_RANGE = "pixels must be uint8 of 0..255, bool, or floats in [0, 1]"


@register("data.arrays")
@dataclass(frozen=True, kw_only=True)
class ArraysConfig:
    """The images of an array [N, H, W] or [N, H, W, C], with labels and splits if there are any.

    Splits that are missing are cut by the seed. Nothing in the files is unpickled.

    Args:
        root: An .npz or .npy file, or a folder with one .npz file or with .npy files. The arrays
            are called images, labels and split, or train_images, train_labels, test_images and so
            on (also x_train, y_train). A split is "train", "val" or "test", or 0, 1 or 2.
        shape: (C, H, W) of the images after resizing; `arrays_config` takes it from the files.
            Colour images become grey ones if C is 1.
        split_seed: The seed of the cut.

    Raises:
        ValueError: A field is out of range.
    """

    root: str
    shape: tuple[int, int, int]
    split_seed: int = 0

    def __post_init__(self) -> None:
        check_source(self.root, False)
        require(len(self.shape) == 3, "shape must be (C, H, W)", shape=self.shape)
        for size in self.shape:
            require_positive_int(shape=size)
        channels, height, width = self.shape
        require(channels in (1, 3), "images have 1 or 3 channels", shape=self.shape)
        require(height == width, "images must be square", shape=self.shape)
        check_split_seed(self.split_seed)

    @property
    def name(self) -> str:
        return "arrays"

    @property
    def binarize(self) -> bool:
        return False

    def stamp(self) -> str:
        return open_files(self.root).stamp()

    def source(self) -> Source:
        files = open_files(self.root)
        values = read_values(files)
        arrays = _Arrays(files.place, find_roles(files.place, list(values)), values)
        splits = [role.split for role in arrays.roles if role.kind == "images"]
        texts = arrays.class_texts()
        parts = {split: arrays.part(split, texts) for split in splits}
        _check_parts_agree(files.place, parts)
        whole = Split(
            np.concatenate([part.images for part in parts.values()]),
            np.concatenate([part.labels for part in parts.values()]),
        )
        indices, notes = complete_splits("arrays", _indices(parts), self.split_seed)
        images = whole.images
        if images.shape[1] == 3 and self.shape[0] == 1:
            images = to_grey(np.asarray(images))
        require(
            images.shape[1] == self.shape[0],
            f"{files.place}: the images are grey, but colour images are required",
            shape=self.shape,
        )
        whole = Split(images, whole.labels)
        return ArraySource(
            {split: take(whole, indices[split]) for split in SPLITS},
            self.shape,
            files.stamp(),
            label_names=_label_names(arrays, whole.labels, texts),
            notes=tuple(notes),
        )


def arrays_config(
    root: str, size: int | None = None, grey: bool = False, split_seed: int = 0
) -> ArraysConfig:
    """The config of arrays whose files say how large the images are.

    Args:
        root: As in `ArraysConfig`.
        size: The images are resized to size x size pixels; None keeps their size.
        grey: Whether colour images become grey ones.
        split_seed: As in `ArraysConfig`.

    Returns:
        The config.

    Raises:
        ValueError: The files are missing, or their arrays have other names or shapes.
    """
    files = open_files(root)
    headers = read_headers(files)
    roles = find_roles(files.place, list(headers))
    shapes = {
        _image_shape(f"{files.place}: {name}", headers[name][0])
        for role, name in roles.items()
        if role.kind == "images"
    }
    require(
        len(shapes) == 1, f"{files.place}: the images of all splits have one shape", shapes=shapes
    )
    ((channels, height, width),) = shapes
    if size is not None:
        check_size(size)
        height = width = size
    return ArraysConfig(
        root=root, shape=(1 if grey else channels, height, width), split_seed=split_seed
    )


class _Part(NamedTuple):
    """The images, uint8 [N, C, H, W], and labels of an array, and its splits if it has any."""

    images: NDArray[np.uint8]
    labels: Labels
    split: NDArray[np.int64] | None


class _Arrays(NamedTuple):
    """The arrays of the files at a place, by name, and what they are."""

    place: str
    roles: dict[Role, str]
    values: dict[str, NDArray[Any]]

    @property
    def label_names(self) -> list[str]:
        """The names of the arrays that hold labels."""
        return [name for role, name in self.roles.items() if role.kind == "labels"]

    def class_texts(self) -> list[str] | None:
        """The names of the classes, sorted, if the labels are texts."""
        kinds = {self.values[name].dtype.kind for name in self.label_names}
        if kinds != {"U"}:
            return None
        texts = [self.values[name].ravel() for name in self.label_names]
        return [str(text) for text in np.unique(np.concatenate(texts))]

    def part(self, split: str, texts: list[str] | None) -> _Part:
        """The images of a split, or of all, with their labels.

        Raises ValueError for bad values.
        """
        name = self.roles[Role("images", split)]
        images = _to_pixels(f"{self.place}: {name}", self.values[name])
        labels: Labels = np.zeros(len(images), np.int64)
        if (role := Role("labels", split)) in self.roles:
            name = self.roles[role]
            labels = _to_labels(f"{self.place}: {name}", self.values[name], len(images), texts)
        index = None
        if split == WHOLE and (role := Role("split", WHOLE)) in self.roles:
            name = self.roles[role]
            index = _to_split_numbers(f"{self.place}: {name}", self.values[name], len(images))
        return _Part(images, labels, index)


def _label_names(arrays: _Arrays, labels: Labels, texts: list[str] | None) -> tuple[str, ...]:
    """The names of the classes or attributes; none if there are no labels."""
    if texts is not None:
        return tuple(texts)
    if not arrays.label_names:
        return ()
    if labels.ndim == 2:
        return tuple(str(number) for number in range(labels.shape[1]))
    return number_classes(arrays.place, labels.astype(np.int64))


def _indices(parts: dict[str, _Part]) -> dict[str, NDArray[np.int64]]:
    """The indices of the images of each split, in the order of the parts."""
    if WHOLE in parts:
        numbers = parts[WHOLE].split
        if numbers is None:
            return {WHOLE: np.arange(len(parts[WHOLE].images))}
        present = np.unique(numbers).tolist()
        return {SPLITS[number]: np.flatnonzero(numbers == number) for number in present}
    starts = np.cumsum([0, *(len(part.images) for part in parts.values())])
    return {
        split: np.arange(first, last)
        for split, first, last in zip(parts, starts[:-1], starts[1:], strict=True)
    }


def _check_parts_agree(place: str, parts: dict[str, _Part]) -> None:
    """Raise ValueError if the splits have other shapes, classes or kinds of labels."""
    first = next(iter(parts.values()))
    for split, part in parts.items():
        if part.images.shape[1:] != first.images.shape[1:]:
            raise ValueError(
                f"{place}: the images of all splits have one shape, got "
                f"{first.images.shape[1:]} and, in {split}, {part.images.shape[1:]}"
            )
        if part.labels.shape[1:] != first.labels.shape[1:]:
            raise ValueError(f"{place}: the labels of {split} are not those of the other splits")


def _image_shape(what: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W) of an array of images. Raises ValueError if it is none."""
    expected = "expected images [N, H, W] or [N, H, W, C] with 1 or 3 channels"
    if len(shape) == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3):
        raise ValueError(
            f"{what}: {expected}, got {shape}: the channels come last, so save "
            "images.transpose(0, 2, 3, 1)"
        )
    if len(shape) == 2:
        side = round(shape[1] ** 0.5)
        hint = f": save images.reshape(-1, {side}, {side})" if side**2 == shape[1] else ""
        raise ValueError(f"{what}: {expected}, got {shape}{hint}")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise ValueError(f"{what}: {expected}, got {shape}")
    if shape[1] != shape[2] or shape[1] < 1:
        raise ValueError(
            f"{what}: images must be square, got {shape[1]} x {shape[2]} pixels: cut or pad them, "
            "for example with numpy.pad"
        )
    return (shape[3] if len(shape) == 4 else 1, shape[1], shape[2])


def _to_pixels(what: str, array: NDArray[Any]) -> NDArray[np.uint8]:
    """Images as uint8 [N, C, H, W]. Raises ValueError for other shapes, types or values."""
    _image_shape(what, array.shape)
    if not len(array):
        raise ValueError(f"{what}: there is no image; its shape is {array.shape}")
    pixels = _to_bytes(what, array)
    if pixels.ndim == 3:
        return pixels[:, None]
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _to_bytes(what: str, array: NDArray[Any]) -> NDArray[np.uint8]:
    """The values as uint8 of 0..255."""
    kind = array.dtype.kind
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if kind not in "uif":
        raise ValueError(f"{what}: {BYTE_RANGE}, got {array.dtype}")
    low, high = array.min(), array.max()
    if kind == "f":
        if not (low >= 0 and high <= 1):  # also if a value is not a number
            hint = ""
            if low >= -1 and high <= 1:
                hint = ": save (images + 1) / 2"
            elif low >= 0 and high <= 255:
                hint = ": save images / 255"
            raise ValueError(f"{what}: {BYTE_RANGE}, got {array.dtype} of {low}..{high}{hint}")
        levels: NDArray[np.uint8] = np.rint(array * 255).astype(np.uint8)
        return levels
    if not (low >= 0 and high <= 255):
        raise ValueError(f"{what}: {BYTE_RANGE}, got {array.dtype} of {low}..{high}")
    if high <= 1:
        raise ValueError(
            f"{what}: {BYTE_RANGE}, got {array.dtype} of {low}..{high}, which are nearly black; "
            "if 1 means white, save images.astype(bool)"
        )
    return array.astype(np.uint8)


def _to_labels(what: str, array: NDArray[Any], count: int, texts: list[str] | None) -> Labels:
    """Labels as int64 [N] or uint8 [N, A]. `texts` are the names of the classes."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or len(array) != count or not array.size:
        raise ValueError(
            f"{what}: expected one label for each of the {count:,} images, got {array.shape}"
        )
    if array.ndim == 1 and texts is not None:
        return np.searchsorted(np.array(texts), array).astype(np.int64)
    if array.dtype.kind not in "uib":
        raise ValueError(f"{what}: labels must be whole numbers or texts, got {array.dtype}")
    if array.min() < 0:
        raise ValueError(f"{what}: labels must be >= 0, got {array.min()}")
    if array.ndim == 1:
        return array.astype(np.int64)
    if array.max() > 1:
        raise ValueError(
            f"{what}: labels [N, A] are attributes of 0 or 1, got {array.max()}; classes are [N]"
        )
    return array.astype(np.uint8)


def _to_split_numbers(what: str, array: NDArray[Any], count: int) -> NDArray[np.int64]:
    """The split of each image as 0, 1 or 2."""
    expected = f'expected "train", "val" or "test", or 0, 1 or 2, for each of the {count:,} images'
    if array.shape != (count,):
        raise ValueError(f"{what}: {expected}, got {array.shape}")
    if array.dtype.kind == "U":
        names = {text: split_named(str(text)) for text in np.unique(array).tolist()}
        wrong = [text for text, split in names.items() if split is None]
        if wrong:
            raise ValueError(f"{what}: {expected}, got {wrong[0]!r}")
        number = {text: SPLITS.index(split) for text, split in names.items() if split is not None}
        return np.array([number[text] for text in array.tolist()], np.int64)
    if array.dtype.kind not in "ui" or array.min() < 0 or array.max() > 2:
        got = array.dtype if array.dtype.kind not in "ui" else f"{array.min()}..{array.max()}"
        raise ValueError(f"{what}: {expected}, got {got}")
    return array.astype(np.int64)
