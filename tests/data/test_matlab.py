"""Reading MATLAB files: as scipy reads them, and no damaged file ends the process."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from genae_core.data.matlab import read_arrays

X = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 2), np.uint8)
Y = np.ones((2, 1))


def encode(compressed: bool, **arrays: Any) -> bytes:  # noqa: ANN401
    buffer = io.BytesIO()
    savemat(buffer, arrays, do_compression=compressed)
    return buffer.getvalue()


def big_endian() -> bytes:
    """One array of doubles [[1, 2, 3]], from the description of the format."""
    flags = struct.pack(">4I", 6, 8, 6, 0)
    shape = struct.pack(">2I2i", 5, 8, 1, 3)
    name = struct.pack(">HH4s", 1, 1, b"y")
    data = struct.pack(">2I3h2x", 3, 6, 1, 2, 3)
    body = flags + shape + name + data
    return b"MATLAB 5.0".ljust(124) + b"\1\0MI" + struct.pack(">2I", 14, len(body)) + body


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_arrays_are_read_as_scipy_reads_them(kind: str, compressed: bool) -> None:
    values = np.arange(24).reshape(2, 3, 4).astype(kind)
    content = encode(compressed, X=X, other=[1, 2], y=values, z={"a": "text"})
    wanted = loadmat(io.BytesIO(content))
    arrays = read_arrays(content, ("X", "y", "absent"))
    assert set(arrays) == {"X", "y"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, wanted[name])
        assert array.dtype == wanted[name].dtype


def test_the_other_byte_order() -> None:
    np.testing.assert_array_equal(read_arrays(big_endian(), ("y",))["y"], [[1, 2, 3]])
    np.testing.assert_array_equal(loadmat(io.BytesIO(big_endian()))["y"], [[1, 2, 3]])


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("value", [{"a": 1}, "text", [[1, "a"]], 1j, np.array([{}, {}], object)])
def test_what_holds_no_numbers_is_refused(value: object, compressed: bool) -> None:
    with pytest.raises(ValueError, match="y must be numbers in an array, got objects of class"):
        read_arrays(encode(compressed, X=X, y=value), ("X", "y"))


def test_damaged_files_are_refused_or_read() -> None:
    """Where it ends the process of scipy: this very number of rounds does."""
    generator = np.random.default_rng(1)
    files = [encode(False, X=X, y=Y), encode(True, X=X, y=Y), big_endian()]
    refused = 0
    for number in range(1_500):
        content = bytearray(files[number % 3])
        end = len(content) if number % 2 else min(len(content), 300)
        for _ in range(int(generator.integers(1, 9))):
            content[int(generator.integers(end))] = int(generator.choice([0, 1, 127, 255]))
        if number % 5 == 0:
            content = content[: int(generator.integers(len(content)))]
        try:
            for array in read_arrays(bytes(content), ("X", "y")).values():
                assert array.nbytes <= 8 * X.size
        except ValueError as error:
            assert str(error)
            refused += 1
    assert 300 < refused < 1_450


def test_a_cut_file_says_so() -> None:
    for compressed in (False, True):
        content = encode(compressed, X=X, y=Y)
        for end in (3_000, len(content) - 1):
            with pytest.raises(ValueError, match="was a download interrupted"):
                read_arrays(content[:end], ("X", "y"))
    packed = zlib.compress(content[128:])[:-20]
    head = content[:128] + struct.pack("<2I", 15, len(packed))
    with pytest.raises(ValueError, match="ends within a compressed element"):
        read_arrays(head + packed, ("X",))


def test_a_file_of_another_version_says_how_to_save_it() -> None:
    """MATLAB 7.3 files are HDF5 files behind a header of MATLAB 5."""
    content = (
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM".ljust(388, b"\0") + b"\x89HDF\r\n\x1a\n"
    )
    with pytest.raises(ValueError, match="version 256; save it with -v7, got version=512"):
        read_arrays(content, ("X",))
