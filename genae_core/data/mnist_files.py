"""The files in which MNIST is handed around: idx files, Keras' mnist.npz and Kaggle's tables.

Shapes: N images.
"""

import io
import zipfile
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import read_array
from numpy.typing import NDArray

from genae_core.data.official_files import check_digest
from genae_core.data.storage import Folder
from genae_core.data.unpacking import check_zip, unpack_gzip

SHA256 = {  # the digests of the unpacked official files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
COUNTS = {"train": 60_000, "t10k": 10_000}
LOOK_ALIKES = "Fashion-MNIST, KMNIST or another set of as many images"
# The third byte of an idx file's magic number is the type; the fourth counts the dimensions.
UNSIGNED_BYTES = 0x08
GZIP = b"\x1f\x8b"  # the first bytes of a packed file
SIDE = 28


class Digits(NamedTuple):
    """The images uint8 [N, 28, 28] and the labels uint8 [N] of a part, "train" or "t10k"."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class IdxFile(NamedTuple):
    """An idx file.

    Attributes:
        path: Its path or URI.
        stored: The bytes on the disk, which may be packed with gzip.
        content: The unpacked bytes.
        items: Its array, uint8 [N, ...].
    """

    path: str
    stored: bytes
    content: bytes | bytearray
    items: NDArray[np.uint8]


def open_idx(folder: Folder, file: str, shape: tuple[int, ...]) -> IdxFile:
    """Read an idx file of bytes, which may be packed with gzip.

    Args:
        folder: The folder of the file.
        file: The name of the file.
        shape: The shape of an item.

    Returns:
        The file, with items uint8 [N, *shape].

    Raises:
        ValueError: The file has another format, or its length contradicts its header.
    """
    path = folder.path_of(file)
    stored = folder.read(file)
    content: bytes | bytearray = stored
    is_idx = content.startswith(bytes((0, 0, UNSIGNED_BYTES)))
    # A browser may unpack a file and keep its name, or the other way round.
    if content.startswith(GZIP) or (file.endswith(".gz") and not is_idx):
        content = unpack_gzip(stored, path)
    hint = _explain_bytes(content)
    num_dims = 1 + len(shape)
    start = 4 * (1 + num_dims)
    magic = UNSIGNED_BYTES << 8 | num_dims
    if (number := int.from_bytes(content[:4], "big")) != magic:
        raise ValueError(
            f"{path}: expected an idx file, magic number {magic}, found {number}{hint}"
        )
    if len(content) < start:
        raise ValueError(f"{path}: it ends within its header, after {len(content)} bytes")
    count, *dims = (int(n) for n in np.frombuffer(content, ">u4", num_dims, offset=4))
    if tuple(dims) != shape:
        sides = " x ".join(map(str, dims))
        raise ValueError(f"{path}: expected images of 28 x 28, found {sides}{hint}")
    length = start + count * int(np.prod(shape))
    if len(content) != length:
        raise ValueError(
            f"{path}: its header says {count:,} items, which take {length:,} bytes, but it has "
            f"{len(content):,}; is it incomplete?{hint}"
        )
    items = np.frombuffer(content, np.uint8, offset=start).reshape(count, *shape)
    return IdxFile(path, stored, content, np.require(items, requirements="W"))


def read_idx(
    folder: Folder, file: str, name: str, official: int, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Read the array uint8 [N, *shape] of one of MNIST's idx files.

    Args:
        folder: The folder of the file.
        file: The name of the file.
        name: The official name of the file.
        official: The number of items of the official file.
        shape: The shape of an item.

    Returns:
        The array.

    Raises:
        ValueError: As for `open_idx`, or the file has the official number of items but not the
            official content.
    """
    idx = open_idx(folder, file, shape)
    if len(idx.items) == official:
        check_digest(idx.path, idx.content, "sha256", SHA256[name], LOOK_ALIKES)
    return idx.items


def read_npz(folder: Folder, file: str) -> dict[str, Digits]:
    """Read both parts from the mnist.npz of Keras. Raises ValueError for another content."""
    path, content = folder.path_of(file), folder.read(file)
    values = {}
    try:
        check_zip(content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in ("x_train", "y_train", "x_test", "y_test"):
                with archive.open(f"{name}.npy") as stream:
                    values[name] = read_array(stream, allow_pickle=False)
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: expected the arrays x_train, y_train, x_test and y_test of Keras: {error}"
        ) from None
    return {
        part: _check_arrays(path, part, values[f"x_{name}"], values[f"y_{name}"])
        for part, name in (("train", "train"), ("t10k", "test"))
    }


def read_csv(folder: Folder, file: str, part: str) -> Digits:
    """Read a part from a table of Kaggle, whose rows are a label and 784 pixels.

    Raises ValueError for another content. The first line may name the columns.
    """
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    path, content = folder.path_of(file), folder.read(file).removeprefix(b"\xef\xbb\xbf")
    has_names = not content[:1].isdigit()
    columns = ["label", *(f"pixel{number}" for number in range(SIDE * SIDE))]
    try:
        table = pa_csv.read_csv(
            io.BytesIO(content),
            read_options=pa_csv.ReadOptions(
                column_names=columns, skip_rows=int(has_names), use_threads=False
            ),
            convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.uint8())),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path}: expected a table of a label and {SIDE * SIDE} pixels of 0..255 in each row: "
            f"{error}"
        ) from None
    values = np.stack([table.column(name).to_numpy() for name in columns], axis=1)
    images = values[:, 1:].reshape(-1, SIDE, SIDE)
    return _check_arrays(path, part, images, values[:, 0])


def to_idx(array: NDArray[np.uint8]) -> bytes:
    """The content of the idx file that holds an array."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, UNSIGNED_BYTES, array.ndim)) + sizes + array.tobytes()


def _check_arrays(path: str, part: str, images: NDArray[np.uint8], labels: NDArray[Any]) -> Digits:
    """The arrays of a part. Raises ValueError for other types, shapes or another content."""
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise ValueError(
            f"{path}: expected images of uint8 [N, 28, 28], got {images.dtype} {images.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or labels.max(initial=0) > 255:
        raise ValueError(
            f"{path}: expected labels of integers [N], got {labels.dtype} {labels.shape}"
        )
    digits = Digits(images, labels.astype(np.uint8))
    _check_official(path, digits.images, f"{part}-images-idx3-ubyte", COUNTS[part])
    _check_official(path, digits.labels, f"{part}-labels-idx1-ubyte", COUNTS[part])
    return digits


def _check_official(path: str, array: NDArray[np.uint8], name: str, official: int) -> None:
    """Raise ValueError if an array has the official number of items but another content."""
    if len(array) == official:
        check_digest(path, to_idx(array), "sha256", SHA256[name], LOOK_ALIKES)


def _explain_bytes(content: bytes | bytearray) -> str:
    """What probably happened to an idx file that cannot be read; "" if nothing can be said."""
    if not content:
        return " (the file is empty)"
    breaks = content.count(b"\n")
    if breaks > 1 and breaks == content.count(b"\r\n"):
        return " (every line break in it is \\r\\n: was it copied as text? Fetch it again)"
    return ""
