"""Pickles are read and never run: what is plain comes back, and everything else is refused."""

import collections
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.pickles import python2_batch

from genae_core.data.plain_pickle import read_plain_pickle

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def test_a_batch_of_python_2_comes_back() -> None:
    value = read_plain_pickle(python2_batch(PIXELS.tobytes(), 3, 4, [7, 0, 9]))
    assert value.keys() == {b"data", b"labels"} and value[b"labels"] == [7, 0, 9]
    assert value[b"data"].dtype == np.uint8
    np.testing.assert_array_equal(value[b"data"], PIXELS)


@pytest.mark.parametrize("protocol", range(6))
def test_what_any_python_3_writes_comes_back(protocol: int) -> None:
    plain = {
        b"data": PIXELS,
        "labels": [1, 2, 300],
        "none": None,
        "pair": (True, -5),
        "big": 2**40,
    }
    value = read_plain_pickle(pickle.dumps(plain, protocol))
    np.testing.assert_array_equal(value.pop(b"data"), PIXELS)
    assert value == {name: plain[name] for name in ("labels", "none", "pair", "big")}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i4", "<u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_integers_of_any_byte_order_come_back(protocol: int, dtype: str, order: Any) -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]], dtype, order=order)
    np.testing.assert_array_equal(read_plain_pickle(pickle.dumps(array, protocol)), array)


class Malicious:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = pickle.dumps({"data": Malicious(trace)}, protocol)
    with pytest.raises(ValueError, match=r"it names \w+\.system, which genae does not look up"):
        read_plain_pickle(content)
    assert not trace.exists()
    pickle.loads(content)
    assert trace.exists()  # so the test would see it


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(collections.OrderedDict(a=1)), "names collections.OrderedDict"),
        (pickle.dumps({1, 2}), "opcode EMPTY_SET"),
        (pickle.dumps(1.5), "opcode BINFLOAT"),
        (pickle.dumps(np.array([1.5])), "arrays of float64 are not read"),
        (pickle.dumps(np.array([{}])), "no whole pickle"),
        (pickle.dumps(PIXELS)[:-20], "exhausted"),
        (b"", "exhausted"),
        (b"<html>", "at position 0"),
        (b"cnumpy\nndarray\n(tR.", "calls"),
        (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR.",
            "no content",
        ),
        (b"h\x05.", "no whole pickle: KeyError"),
        (b"]]b.", "no whole pickle"),
        (b"(K\x01d.", "no whole pickle|shorter"),
        (b"K\x01K\x02.", "no whole pickle|too many values"),
        (b"(.", "no whole pickle"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_anything_else_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_plain_pickle(content)


def test_an_array_has_as_many_bytes_as_its_shape_needs() -> None:
    with pytest.raises(ValueError, match="reshape"):
        read_plain_pickle(python2_batch(PIXELS.tobytes(), 5, 4, [1]))


def test_a_dict_that_holds_itself_ends() -> None:
    endless: dict[str, Any] = {"labels": [1]}
    endless["self"] = endless
    assert read_plain_pickle(pickle.dumps(endless))["labels"] == [1]


def test_damaged_files_are_errors_of_their_own() -> None:
    """Whatever byte is wrong, the answer is a value or a ValueError."""
    whole = python2_batch(PIXELS.tobytes(), 3, 4, [7, 0, 9])
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(2000):
        content = bytearray(whole)
        for _ in range(int(generator.integers(1, 4))):
            content[int(generator.integers(len(content)))] = int(generator.integers(256))
        try:
            read_plain_pickle(bytes(content))
        except ValueError:
            refused += 1
    assert refused > 500
