"""The idx format, written from its definition."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray


def idx(array: NDArray[np.uint8]) -> bytes:
    """Two zeros, the type 8, the number of dimensions, their sizes and the data."""
    sizes: Any = array.shape
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *sizes) + array.tobytes()
