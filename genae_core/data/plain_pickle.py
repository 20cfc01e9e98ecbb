"""A reader of Python's pickle format that builds plain values and numbers' arrays, nothing else.

Unpickling runs whatever the file says. This reader runs nothing: it walks through the opcodes as
`pickletools` lists them, and builds numbers, texts, bytes, lists, tuples, dicts and the arrays of
numpy by itself. Any other content is an error.
"""

import pickletools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RECONSTRUCT = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}
FROM_BUFFER = {("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer")}
NDARRAY, DTYPE, ENCODE = ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")
NAMES = {*RECONSTRUCT, *FROM_BUFFER, NDARRAY, DTYPE, ENCODE}
NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1")
TEXTS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
PYTHON2_STRINGS = ("STRING", "BINSTRING", "SHORT_BINSTRING")  # They are bytes.
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
GETS, PUTS = ("GET", "BINGET", "LONG_BINGET"), ("PUT", "BINPUT", "LONG_BINPUT")
NOTHING = ("PROTO", "FRAME", "STOP", "READONLY_BUFFER")
MARK = object()


class Name(NamedTuple):
    """The name of something in a module, which is never looked up."""

    module: str
    name: str


class NumberType:
    """The type of an array's numbers."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.byte_order = ""

    def to_numpy(self) -> np.dtype[Any]:
        """The dtype. Raises ValueError if it is none of integers."""
        dtype = np.dtype(f"{self.byte_order.replace('|', '')}{self.text}")
        if dtype.kind not in "iu":
            raise ValueError(f"arrays of {dtype} are not read, only of integers")
        return dtype


class ArrayFrame:
    """An array whose content comes in a later opcode."""

    array: NDArray[Any] | None = None


def read_plain_pickle(content: bytes) -> Any:
    """The value in a pickle.

    Args:
        content: The bytes of the file.

    Returns:
        Numbers, texts, bytes (also for the strings of Python 2), lists, tuples, dicts and arrays
        of integers.

    Raises:
        ValueError: The content is no whole pickle, or holds something else.
    """
    reader = _Reader()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of texts with unknown escapes
            for opcode, argument, _ in pickletools.genops(content):
                reader.step(opcode.name, argument)
        (value,) = reader.stack
        if value is MARK:
            raise IndexError("it ends within a list")
        return _finish(value)
    except (IndexError, KeyError, TypeError, AttributeError, UnicodeError, OverflowError) as error:
        raise ValueError(f"it is no whole pickle: {type(error).__name__}: {error}") from None


class _Reader:
    """The stack and the memo of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.actions: dict[str, Callable[[], None]] = {
            "MARK": lambda: self.stack.append(MARK),
            "EMPTY_LIST": lambda: self.stack.append([]),
            "EMPTY_TUPLE": lambda: self.stack.append(()),
            "EMPTY_DICT": lambda: self.stack.append({}),
            "LIST": lambda: self.stack.append(self._from_mark()),
            "TUPLE": lambda: self.stack.append(tuple(self._from_mark())),
            "DICT": lambda: self.stack.append(_pairs(self._from_mark())),
            "APPEND": lambda: self._append([self.stack.pop()]),
            "APPENDS": lambda: self._append(self._from_mark()),
            "SETITEM": lambda: self._set_items(self._pop(2)),
            "SETITEMS": lambda: self._set_items(self._from_mark()),
            "TUPLE1": lambda: self.stack.append(tuple(self._pop(1))),
            "TUPLE2": lambda: self.stack.append(tuple(self._pop(2))),
            "TUPLE3": lambda: self.stack.append(tuple(self._pop(3))),
            "STACK_GLOBAL": lambda: self.stack.append(_name(*self._pop(2))),
            "REDUCE": lambda: self.stack.append(_reduce(*self._pop(2))),
            "BUILD": self._build,
        }

    def step(self, name: str, argument: Any) -> None:
        """Do what an opcode says. Raises ValueError for one that plain values do not need."""
        if name in self.actions:
            self.actions[name]()
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in (*NUMBERS, *TEXTS):
            self.stack.append(argument)
        elif name in BYTES:
            self.stack.append(bytes(argument))
        elif name in PYTHON2_STRINGS:
            self.stack.append(argument.encode("latin-1"))
        elif name in GETS:
            self.stack.append(self.memo[int(argument)])
        elif name in PUTS:
            self.memo[int(argument)] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name == "GLOBAL":
            self.stack.append(_name(*argument.split(" ")))
        elif name not in NOTHING:
            raise ValueError(f"it has the opcode {name}, which plain values do not need")

    def _pop(self, count: int) -> list[Any]:
        """Take the last values from the stack."""
        values = self.stack[-count:]
        if len(values) < count or any(value is MARK for value in values):
            raise IndexError("a value is missing")
        del self.stack[-count:]
        return values

    def _from_mark(self) -> list[Any]:
        """Take the values behind the last mark from the stack."""
        values: list[Any] = []
        while (value := self.stack.pop()) is not MARK:
            values.append(value)
        return values[::-1]

    def _append(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError("values are appended to something that is no list")
        self.stack[-1].extend(values)

    def _set_items(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise TypeError("items are set in something that is no dict")
        self.stack[-1].update(_pairs(values))

    def _build(self) -> None:
        target, state = self._pop(2)
        if isinstance(target, ArrayFrame):
            _, shape, dtype, is_fortran, content = state
            target.array = _array(content, dtype, shape, "F" if is_fortran else "C")
        elif isinstance(target, NumberType):
            target.byte_order = _text(state[1])
        else:
            raise TypeError("a state is set in something that is no array")
        self.stack.append(target)


def _name(module: Any, name: Any) -> Name:
    """A name. Raises ValueError if arrays do not need it."""
    named = Name(_text(module), _text(name))
    if named not in NAMES:
        raise ValueError(
            f"it names {named.module}.{named.name}, which genae does not look up: only numbers, "
            "texts, lists, dicts and arrays are read"
        )
    return named


def _reduce(name: Any, arguments: Any) -> Any:
    """What a call of a name would give."""
    if name in RECONSTRUCT and arguments[0] == NDARRAY:
        return ArrayFrame()
    if name == DTYPE:
        return NumberType(_text(arguments[0]))
    if name in FROM_BUFFER:
        content, dtype, shape, order = arguments
        frame = ArrayFrame()
        frame.array = _array(content, dtype, shape, "F" if _text(order) == "F" else "C")
        return frame
    if name == ENCODE and _text(arguments[1]) in ("latin1", "latin-1"):
        return arguments[0].encode("latin-1")
    raise ValueError(f"it calls {name}, which plain values do not need")


def _array(content: Any, dtype: NumberType, shape: Any, order: Any) -> NDArray[Any]:
    """The array of these bytes. Raises ValueError if they are not as many as the shape needs."""
    if not isinstance(content, bytes):
        raise TypeError("an array has no bytes")
    sizes = tuple(int(size) for size in shape)
    return np.frombuffer(content, dtype.to_numpy()).reshape(sizes, order=order)


def _pairs(values: list[Any]) -> dict[Any, Any]:
    """A dict of keys and values in turn."""
    return dict(zip(values[::2], values[1::2], strict=True))


def _text(value: Any) -> str:
    """A text, which may be a string of Python 2."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {type(value).__name__}")
    return value


def _finish(value: Any) -> Any:
    """The value, and the values of a dict, with arrays in place of their frames."""
    if isinstance(value, dict):
        return {key: _content(one) for key, one in value.items()}
    return _content(value)


def _content(value: Any) -> Any:
    """The array of a frame; any other value as it is."""
    if not isinstance(value, ArrayFrame):
        return value
    if value.array is None:
        raise ValueError("an array has no content")
    return value.array
