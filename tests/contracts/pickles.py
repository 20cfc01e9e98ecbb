"""Pickles as Python 2 wrote them, which Python 3 cannot write."""

import struct


def python2_batch(pixels: bytes, rows: int, columns: int, labels: list[int]) -> bytes:
    """A dict with data and labels as Python 2 and its numpy have written it, in protocol 2.

    This is written from the documentation of the opcodes, in the order of the official files.
    """

    def text(value: bytes) -> bytes:  # SHORT_BINSTRING
        return b"U" + bytes((len(value),)) + value

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85" + text(b"b") + b"\x87R"  # the tuple (0,), then the call of three arguments
        b"(K\x01" + b"K" + bytes((rows,)) + b"M" + struct.pack("<H", columns) + b"\x86"
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89" + b"T" + struct.pack("<I", len(pixels)) + pixels + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes((label,)) for label in labels) + b"e"
    return b"\x80\x02}q\x01(" + text(b"data") + array + text(b"labels") + numbers + b"u."
