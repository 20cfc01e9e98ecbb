"""JSON files that hold a digest of their own content, so that a changed file is recognised.

A disk can return other bytes than were written, and a file can be edited by mistake. The result
may still be valid JSON, from which a training would continue with wrong numbers. So every file
from which genae continues is an object with the key "seal": the sha256 of all its other values.
Files that belong to it are listed in it with their own sha256. Files of earlier versions have no
seal and are read without this check.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genae_core.data import durable

SEAL = "seal"


def to_text(values: Mapping[str, Any], indent: int | None = 1, allow_nan: bool = True) -> str:
    """The values as JSON with a seal, for a file."""
    sealed = {**values, SEAL: _seal_of(values)}
    return json.dumps(sealed, indent=indent, allow_nan=allow_nan) + "\n"


def from_text(text: str | bytes, source: str) -> dict[str, Any]:
    """The values that `to_text` has sealed, without the seal.

    Args:
        text: The content of the file.
        source: The file, for messages.

    Raises:
        ValueError: The text is no JSON object, or its values are not those that were sealed.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source} is damaged: it is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{source} is damaged: it holds no JSON object")
    if SEAL in values and values.pop(SEAL) != _seal_of(values):
        raise ValueError(f"{source} is damaged: its values are not those that were written")
    return values


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Write a sealed file, completely or not at all."""
    durable.write(path, to_text(values))


def read(path: Path) -> dict[str, Any]:
    """Read a sealed file. Raises FileNotFoundError, OSError, or ValueError as `from_text` does."""
    return from_text(path.read_bytes(), str(path))


def sha256_of(path: Path) -> str:
    """The sha256 (hex) of a file on a local disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests_of(folder: Path) -> dict[str, str]:
    """The sha256 (hex) of each file below a folder, by its path relative to the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def check_files(folder: Path, digests: Mapping[str, str]) -> None:
    """Check files against the digests that `digests_of` gave.

    Raises:
        ValueError: A file is missing or is not the file that was written.
    """
    for name, digest in digests.items():
        try:
            actual = sha256_of(folder / name)
        except OSError as error:
            raise ValueError(f"{folder / name} cannot be read: {error.strerror}") from None
        if actual != digest:
            raise ValueError(
                f"{folder / name} is damaged: its sha256 is {actual}, expected {digest}"
            )


def _seal_of(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
