"""A small file that unpacks to gigabytes is refused before it fills the memory."""

import gzip
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from genae_core.data import unpacking
from genae_core.data.base import load
from genae_core.data.mnist import MNISTConfig
from genae_core.data.svhn import SVHNConfig

ZEROS = bytes(2**20)


@pytest.fixture(autouse=True)
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED", 2**20)


def gzip_of_zeros(start: bytes, megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    pieces = [packer.compress(start), *(packer.compress(ZEROS) for _ in range(megabytes))]
    return b"".join([*pieces, packer.flush()])


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def test_a_gzip_file(tmp_path: Path) -> None:
    """100 MB in 100 kB, with the header of so many black images."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    header = struct.pack(">4I", 2051, 100 * 2**20 // 784, 28, 28)
    packed = gzip_of_zeros(header, 100)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte.gz").write_bytes(packed)
        (raw / f"{part}-labels-idx1-ubyte.gz").write_bytes(b"")
    with (
        memory_below(200 * len(packed)),
        pytest.raises(
            ValueError,
            match=r"ubyte\.gz is not a whole .* it has 10.,... bytes and unpacks to more than 100",
        ),
    ):
        load(MNISTConfig(root=str(tmp_path)))


def test_a_matlab_file(tmp_path: Path) -> None:
    """An array whose header is right and that unpacks to 9 MB."""
    images = np.zeros((32, 32, 3, 3_000), np.uint8)
    for name in ("train_32x32.mat", "test_32x32.mat"):
        savemat(tmp_path / name, {"X": images, "y": np.ones((3_000, 1))}, do_compression=True)
    del images
    with (
        memory_below(6 * 2**20),
        pytest.raises(
            ValueError,
            match=r"train_32x32\.mat is not .* it has .* unpacks to more than 100 times",
        ),
    ):
        load(SVHNConfig(root=str(tmp_path)))


def test_what_shrinks_well_is_read(tmp_path: Path) -> None:
    """Files of half empty pictures shrink to a third, and several gzip files may follow."""
    content = np.random.default_rng(0).integers(0, 256, 2**20, np.uint8).tobytes() + 3 * ZEROS
    packed = gzip.compress(content[:1_000]) + gzip.compress(content[1_000:])
    assert unpacking.unpack_gzip(packed, "x.gz") == content
    with pytest.raises(ValueError, match=r"x\.gz is not a whole gzip file"):
        unpacking.unpack_gzip(packed[:-5], "x.gz")
    with pytest.raises(ValueError, match=r"x\.gz is not a whole gzip file"):
        unpacking.unpack_gzip(packed + b"rest", "x.gz")
