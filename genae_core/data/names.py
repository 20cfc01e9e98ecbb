"""File names as text that every file, table and terminal takes.

A name on a Linux disk is bytes without a zero or a slash. Python shows bytes that are not UTF-8 as
lone surrogates, which no UTF-8 file can hold, and a name may also hold line breaks and the control
codes of a terminal.
"""

import re
import unicodedata

UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # control codes, surrogates, and separators of lines


def escape_name(name: str) -> str:
    r"""Escape a file name without loss, such that it is printable UTF-8.

    Bytes that are not UTF-8 and the bytes of unprintable characters become \xNN, and a backslash
    is doubled. `unescape_name` is the inverse.

    >>> print(escape_name("caf\udce9\n.png"))
    caf\xe9\x0a.png
    """
    if name.isascii() and name.isprintable() and "\\" not in name:
        return name
    return "".join(_escape(char) for char in name)


def unescape_name(text: str) -> str:
    """The file name that `escape_name` escaped.

    >>> unescape_name(escape_name("caf\\udce9")) == "caf\\udce9"
    True
    """

    def decode(match: re.Match[bytes]) -> bytes:
        return b"\\" if match[1] == b"\\" else bytes.fromhex(match[1][1:].decode())

    content = text.encode("utf-8", "surrogateescape")
    raw = re.sub(rb"\\(\\|x[0-9a-f]{2})", decode, content)
    return raw.decode("utf-8", "surrogateescape")


def _escape(char: str) -> str:
    if char == "\\":
        return r"\\"
    if unicodedata.category(char) not in UNPRINTABLE:
        return char
    is_byte = "\udc80" <= char <= "\udcff"  # as Python shows a byte that is not UTF-8
    content = char.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in content)
