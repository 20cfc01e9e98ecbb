"""The files of a checkpoint that another package has written: one file, or a folder.

They are identified by their content, and travel as bytes: a run keeps them beside its results, so
that it can be repeated when they have been moved or deleted.
"""

import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from genae_core.config import require
from genae_core.data import sealed

FILE, FOLDER = "file", "folder"  # what the names of the tensors of `read_files` begin with


def find_files(place: Path, names: Sequence[str] = ()) -> dict[str, Path]:
    """The files of a checkpoint.

    Args:
        place: The file or the folder.
        names: The files of a folder that belong to the checkpoint; without any, all files do.

    Returns:
        The path of each file, by its name below the folder; for one file, by its own name.

    Raises:
        ValueError: There is no such file or folder, or a file is missing in it.
    """
    if not place.exists():
        raise ValueError(
            f"there is no checkpoint {place} on {platform.node()}: give the path of a file or "
            "folder that this machine, and on a cluster every node, can open"
        )
    if place.is_file():
        require(
            not names,
            f"the checkpoint must be a folder with {' and '.join(names)}",
            checkpoint=str(place),
        )
        return {place.name: place}
    missing = [name for name in names if not (place / name).is_file()]
    if missing:
        inside = sorted(path.name for path in place.iterdir())[:10]
        raise ValueError(
            f"the checkpoint {place} has no {' and no '.join(missing)}; it holds "
            f"{', '.join(inside) or 'nothing'}"
        )
    files = {name: place / name for name in names} or {
        path.relative_to(place).as_posix(): path
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }
    require(len(files) > 0, "the folder of a checkpoint must hold files", checkpoint=str(place))
    return files


def digest_of(place: Path, files: dict[str, Path]) -> str:
    """The sha256 (hex) of a checkpoint's content, which does not depend on where it lies.

    For one file it is the sha256 of the file, and for a folder that of the names and the sha256 of
    its files.

    Raises:
        ValueError: A file cannot be read.
    """
    try:
        digests = {name: sealed.sha256_of(path) for name, path in sorted(files.items())}
    except OSError as error:
        raise ValueError(f"the checkpoint {place} cannot be read: {error}") from None
    if place.is_file():
        return next(iter(digests.values()))
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def read_files(place: Path, files: dict[str, Path]) -> dict[str, Tensor]:
    """The bytes of the files as uint8 tensors, by a name that `write_files` knows."""
    kind = FILE if place.is_file() else FOLDER
    return {
        f"{kind}/{name}": torch.from_numpy(np.fromfile(path, np.uint8))
        for name, path in files.items()
    }


def write_files(tensors: dict[str, Tensor], folder: Path) -> Path:
    """Write the files of `read_files` below a folder, and return where the checkpoint lies.

    Raises:
        ValueError: The tensors are not those of a checkpoint.
    """
    kinds = {name.partition("/")[0] for name in tensors}
    names = [PurePosixPath(name) for name in tensors]
    inside = all(".." not in name.parts and not name.is_absolute() for name in names)
    require(
        kinds in ({FILE}, {FOLDER}) and inside and (kinds == {FOLDER} or len(names) == 1),
        "it holds no files of a checkpoint",
        tensors=sorted(tensors)[:10],
    )
    for name, tensor in tensors.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tensor.numpy().tofile(path)
    return folder / names[0] if kinds == {FILE} else folder / FOLDER
