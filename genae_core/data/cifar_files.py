"""The files of CIFAR-10 and CIFAR-100, in their Python and binary versions.

Shapes: N images.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.data.base import Split
from genae_core.data.official_files import check_digest
from genae_core.data.plain_pickle import read_plain_pickle
from genae_core.data.storage import Folder

SIDE = 32
PIXELS = 3 * SIDE * SIDE


class CifarVersion(NamedTuple):
    """One of the versions in which a dataset is handed around.

    Attributes:
        folder: The folder that the archive unpacks to.
        train: The training files.
        test: The test file.
        md5: The md5 (hex) of each official file.
        label_bytes: The bytes before the pixels of an image in a binary file, the last of which
            is the class; 0 for the Python version.
        labels: The key of the classes in a pickle.
    """

    folder: str
    train: tuple[str, ...]
    test: str
    md5: Mapping[str, str]
    label_bytes: int = 0
    labels: str = ""


PYTHON10 = CifarVersion(
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    md5=MappingProxyType(
        {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        }
    ),
    labels="labels",
)
BINARY10 = CifarVersion(
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test="test_batch.bin",
    md5=MappingProxyType(
        {
            "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
            "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
            "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
            "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
            "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
            "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
        }
    ),
    label_bytes=1,
)
PYTHON100 = CifarVersion(
    folder="cifar-100-python",
    train=("train",),
    test="test",
    md5=MappingProxyType(
        {
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        }
    ),
    labels="fine_labels",
)
BINARY100 = CifarVersion(
    folder="cifar-100-binary",
    train=("train.bin",),
    test="test.bin",
    md5=MappingProxyType(
        {
            "train.bin": "6172c7755cfe09b2fe270c85cebc1b15",
            "test.bin": "4499cfba6c016c1be1438163640a0898",
        }
    ),
    label_bytes=2,
)


def read_file(
    folder: Folder, file: str, version: CifarVersion, classes: int, official: int
) -> Split:
    """Read the images of a file.

    Args:
        folder: Its folder.
        file: Its name, which is one of the version's.
        version: The version.
        classes: The number of classes.
        official: The number of images of the official file.

    Returns:
        The images uint8 [N, 3, 32, 32], with their classes.

    Raises:
        ValueError: The file has another content.
    """
    path, content = folder.path_of(file), folder.read(file)
    read = _read_binary if version.label_bytes else _read_pickle
    pixels, labels = read(path, content, version)
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise ValueError(f"{path}: the classes are 0..{classes - 1}, got {wrong}")
    if len(labels) == official:
        check_digest(path, content, "md5", version.md5[file.rpartition("/")[2]])
    return Split(pixels.reshape(-1, 3, SIDE, SIDE), labels)


def _read_binary(
    path: str, content: bytes, version: CifarVersion
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The pixels [N, 3072] and the classes [N] of a binary file."""
    row = version.label_bytes + PIXELS
    if not content or len(content) % row:
        raise ValueError(
            f"{path}: a file of the binary version has {row:,} bytes for each image, but this one "
            f"has {len(content):,} bytes; is it incomplete?"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, row)
    pixels = np.ascontiguousarray(rows[:, version.label_bytes :])
    return pixels, rows[:, version.label_bytes - 1].astype(np.int64)


def _read_pickle(
    path: str, content: bytes, version: CifarVersion
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The pixels [N, 3072] and the classes [N] of a file of the Python version."""
    expected = f"expected the pickle of a dict with data and {version.labels}"
    try:
        value = read_plain_pickle(content)
    except ValueError as error:
        raise ValueError(f"{path}: {expected}: {error}") from None
    fields = _by_text(value) if isinstance(value, dict) else {}
    if not {"data", version.labels} <= fields.keys():
        got = ", ".join(sorted(fields)) or type(value).__name__
        raise ValueError(f"{path}: {expected}, got {got}")
    pixels, labels = fields["data"], fields[version.labels]
    is_array = isinstance(pixels, np.ndarray)
    if not (is_array and pixels.dtype == np.uint8 and pixels.shape[1:] == (PIXELS,)):
        got = f"{pixels.dtype} {pixels.shape}" if is_array else type(pixels).__name__
        raise ValueError(f"{path}: data must be uint8 [N, {PIXELS}], got {got}")
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise ValueError(f"{path}: {version.labels} must be a list of whole numbers")
    if len(labels) != len(pixels):
        raise ValueError(
            f"{path}: {len(pixels):,} images, but {len(labels):,} {version.labels}; they must be "
            "as many"
        )
    return np.ascontiguousarray(pixels), np.array(labels, np.int64)


def _by_text(value: dict[Any, Any]) -> dict[str, Any]:
    """A dict whose keys are texts; the strings of Python 2 are bytes."""
    return {
        key.decode("latin-1") if isinstance(key, bytes) else str(key): one
        for key, one in value.items()
    }
