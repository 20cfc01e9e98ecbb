"""Reading arrays of numbers from a MATLAB 5 file.

`scipy.io.loadmat` ends the process for some damaged files, and reads any number of bytes that a
file unpacks to. The format is described in "MAT-File Format" by The MathWorks: after a header, a
list of elements, each of which is a tag (type, number of bytes) and that many bytes.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.config import require
from genae_core.data.unpacking import check_growth

HEADER = 128  # bytes
MATRIX, COMPRESSED = 14, 15  # types of elements
NUMBERS = {  # of the types of elements that hold numbers
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
CLASSES = {  # of the classes of arrays that hold numbers
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
COMPLEX = 0x800  # the flag of an array
PIECE = 2**20


class _Element(NamedTuple):
    """An element, and the position behind it."""

    kind: int
    content: memoryview
    end: int


def read_arrays(content: bytes, names: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
    """Read the arrays with these names from the content of a MATLAB 5 file.

    Args:
        content: The bytes of the file.
        names: The names of the arrays.

    Returns:
        The arrays that the file has, by name.

    Raises:
        ValueError: The file is not whole, one of these arrays does not hold real numbers, or the
            file unpacks to too much.
    """
    if len(content) < HEADER:
        raise ValueError(f"it ends after {len(content):,} bytes; was a download interrupted?")
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    require(order is not None, "a MATLAB 5 file says IM or MI at byte 126", bytes=content[126:128])
    assert order is not None
    (version,) = struct.unpack_from(f"{order}H", content, 124)
    require(version == 0x100, "a MATLAB 5 file has version 256; save it with -v7", version=version)
    arrays: dict[str, NDArray[np.generic]] = {}
    position, unpacked = HEADER, 0
    while position < len(content):
        element = _element(memoryview(content), position, order, padded=False)
        position = element.end
        if element.kind == COMPRESSED:
            whole = bytearray()
            for piece in _inflate(element.content):
                whole += piece
                check_growth(unpacked + len(whole), len(content))
            unpacked += len(whole)
            element = _element(memoryview(whole), 0, order)
        if element.kind == MATRIX and len(element.content):
            name, array = _array(element.content, order, names)
            if array is not None:
                arrays[name] = array
    return arrays


def _array(
    content: memoryview, order: str, names: tuple[str, ...]
) -> tuple[str, NDArray[np.generic] | None]:
    """The name of an array, and its numbers if the name is one of `names`."""
    flags = _element(content, 0, order)
    shape = _element(content, flags.end, order)
    label = _element(content, shape.end, order)
    name = bytes(label.content).decode("ascii", "replace")
    if name not in names:
        return name, None
    require(len(flags.content) >= 4, f"the flags of {name} are whole", bytes=len(flags.content))
    (flag,) = struct.unpack_from(f"{order}I", flags.content)
    kind = CLASSES.get(flag & 0xFF)
    if kind is None or flag & COMPLEX:
        raise ValueError(f"{name} must be numbers in an array, got objects of class {flag & 0xFF}")
    sides = np.frombuffer(shape.content, f"{order}i4").tolist()
    data = _element(content, label.end, order)
    require(data.kind in NUMBERS, f"the values of {name} must be numbers", type=data.kind)
    values = np.frombuffer(data.content, order + NUMBERS[data.kind])
    product = int(np.prod(np.array(sides, object)))
    whole = all(side >= 0 for side in sides) and product == len(values)
    require(whole, f"the values of {name} must fill its shape {sides}", values=len(values))
    return name, values.astype(kind, copy=False).reshape(sides, order="F")


def _element(content: memoryview, position: int, order: str, padded: bool = True) -> _Element:
    """The element at a position. Raises ValueError if it is not whole."""
    if position + 8 > len(content):
        raise ValueError(f"it ends after {len(content):,} bytes; was a download interrupted?")
    kind, size = struct.unpack_from(f"{order}II", content, position)
    start = position + 8
    if kind >> 16:  # The tag holds the number of bytes, at most 4, and the bytes.
        kind, size, start = kind & 0xFFFF, kind >> 16, position + 4
        require(size <= 4, "a short element has at most 4 bytes", bytes=size)
        return _Element(kind, content[start : start + size], position + 8)
    end = start + size
    if end > len(content):
        raise ValueError(
            f"it ends after {len(content):,} bytes, in an element that ends after {end:,}; was a "
            "download interrupted?"
        )
    return _Element(kind, content[start:end], end + (-size % 8 if padded else 0))


def _inflate(packed: memoryview) -> Iterator[bytes]:
    """The pieces that a compressed element unpacks to. Raises ValueError if it is not whole."""
    inflater = zlib.decompressobj()
    try:
        for first in range(0, len(packed), PIECE):
            rest: bytes | memoryview = packed[first : first + PIECE]
            while rest and not inflater.eof:
                yield inflater.decompress(rest, PIECE)
                rest = inflater.unconsumed_tail
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not inflater.eof:
        raise ValueError("it ends within a compressed element; was a download interrupted?")
