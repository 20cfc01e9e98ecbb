"""A user's own arrays: .npz and .npy files, and what the arrays in them are.

Nothing is unpickled. Shapes: N images, H rows, W columns, C channels, A binary attributes.
"""

import contextlib
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from genae_core.config.places import split_uri
from genae_core.data.folder_tree import list_names, split_named
from genae_core.data.official_files import stamp
from genae_core.data.own_splits import WHOLE
from genae_core.data.storage import FileStat, Folder
from genae_core.data.unpacking import check_growth

T = TypeVar("T")
ENDINGS = (".npz", ".npy")
# The words in the name of an array that say what it holds.
ROLES = {
    "images": ("images", "image", "imgs", "img", "x", "data", "arr"),
    "labels": ("labels", "label", "y", "targets", "target"),
    "split": ("split", "splits"),
}
EXPECTED = (
    "expected images [N, H, W] or [N, H, W, C], with labels [N] and split [N] if there are any; "
    "or train_images, train_labels, test_images and so on (also x_train, y_train)"
)


class ArrayFiles(NamedTuple):
    """The files of a dataset of arrays: their folder and their names in it."""

    folder: Folder
    names: tuple[str, ...]

    @property
    def place(self) -> str:
        """The path or URI of the only file, or of the folder."""
        return self.folder.path_of(self.names[0]) if len(self.names) == 1 else self.folder.uri

    def stamp(self) -> str:
        """The sha256 (hex) over the names, sizes and times of the files."""
        if self.folder.local is not None:
            stats = ((name, (self.folder.local / name).stat()) for name in self.names)
            return stamp(FileStat(name, one.st_size, one.st_mtime_ns) for name, one in stats)
        return stamp(file for file in self.folder.files(*ENDINGS) if file.name in self.names)


class Role(NamedTuple):
    """What an array holds: "images", "labels" or "split", and of which split ("" for all)."""

    kind: str
    split: str


def open_files(root: str) -> ArrayFiles:
    """Find the files at a data root.

    Args:
        root: An .npz or .npy file, or a folder with one .npz file or with .npy files.

    Returns:
        The files.

    Raises:
        ValueError: There is no such file, or several could be meant.
    """
    place = Folder(root)
    if root.lower().endswith(ENDINGS):
        if not place.exists():
            raise ValueError(f"arrays: there is no file {place.uri}; give an .npz or .npy file")
        if place.local is not None and place.local.is_file():
            return ArrayFiles(Folder(place.local.parent), (place.local.name,))
        if place.local is None:
            uri = split_uri(place.address)
            above, _, name = uri.address.rpartition("/")
            return ArrayFiles(Folder(above + uri.options), (name,))
    if place.local is not None and not place.local.is_dir():
        raise ValueError(
            f"arrays: {place.uri} is no folder and no .npz or .npy file; save the images with "
            "numpy.savez(FILE, images=..., labels=...) and give FILE as the data root"
        )
    _, files = place.children()
    packed = [name for name in files if name.lower().endswith(".npz")]
    single = [name for name in files if name.lower().endswith(".npy")]
    if len(packed) == 1 and not single:
        return ArrayFiles(place, tuple(packed))
    if single and not packed:
        return ArrayFiles(place, tuple(single))
    if packed:
        raise ValueError(
            f"arrays: {place.uri} holds {list_names([*packed, *single])}; give one file as the "
            "data root"
        )
    raise ValueError(
        f"arrays: {place.uri} holds no .npz or .npy file, but {list_names(files, 5) or 'no files'}"
    )


def read_headers(files: ArrayFiles) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """The shape and the dtype of each array, without its values, by name.

    Raises ValueError if a file is malformed.
    """
    return _each(files, _read_header)


def read_values(files: ArrayFiles) -> dict[str, NDArray[Any]]:
    """All arrays by name. Raises ValueError if a file is malformed or holds Python objects."""
    return _each(files, lambda stream: npy.read_array(stream, allow_pickle=False))


def find_roles(place: str, names: list[str]) -> dict[Role, str]:
    """What each array holds, by its name.

    Args:
        place: The path of the files, for messages.
        names: The names of the arrays.

    Returns:
        The name of the array of each role.

    Raises:
        ValueError: A name says nothing, two say the same, or the images are missing.
    """
    if len(names) == 1 and _role(names[0]) is None:
        return {Role("images", WHOLE): names[0]}
    roles: dict[Role, str] = {}
    for name in names:
        role = _role(name)
        if role is None:
            raise ValueError(f"{place}: the array {name!r} is not understood; {EXPECTED}")
        if role in roles:
            raise ValueError(
                f"{place}: {roles[role]!r} and {name!r} both hold {role.kind}"
                f"{f' of {role.split}' if role.split else ''}; keep one of them"
            )
        roles[role] = name
    splits = {role.split for role in roles if role.kind == "images"}
    if not splits:
        raise ValueError(f"{place} holds {', '.join(names)}, but no images: {EXPECTED}")
    if WHOLE in splits and len(splits) > 1:
        raise ValueError(
            f"{place}: {roles[Role('images', WHOLE)]!r} lies beside images of single splits; keep "
            "one or the other"
        )
    if Role("split", WHOLE) in roles and WHOLE not in splits:
        raise ValueError(f"{place}: the array split is only for images that are in one array")
    for role, name in roles.items():
        if role.split not in splits:
            raise ValueError(f"{place}: there are no images to the array {name!r}; {EXPECTED}")
    labelled = {role.split for role in roles if role.kind == "labels"}
    if labelled and labelled != splits:
        lacking = ", ".join(sorted(splits - labelled))
        raise ValueError(f"{place}: the images of {lacking} have no labels, but the others have")
    return roles


def _role(name: str) -> Role | None:
    """What an array of this name holds, or None if the name does not say."""
    kind, split = None, WHOLE
    for word in name.lower().replace("-", "_").split("_"):
        meaning = next((role for role, words in ROLES.items() if word in words), None)
        if meaning is not None and kind is None:
            kind = meaning
        elif split_named(word) is not None and split == WHOLE:
            split = split_named(word) or WHOLE
        elif not (word.isdigit() and name.startswith("arr_")):
            return None
    return None if kind is None else Role(kind, split)


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and the dtype of an array."""
    is_first = npy.read_magic(stream) == (1, 0)
    read = npy.read_array_header_1_0 if is_first else npy.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _each(files: ArrayFiles, read: Callable[[IO[bytes]], T]) -> dict[str, T]:
    """What a function reads of each array, by the array's name."""
    results = {}
    for file in files.names:
        with _explained(files.folder.path_of(file)), files.folder.open(file) as stream:
            if file.lower().endswith(".npy"):
                results[file[: -len(".npy")]] = read(stream)
                continue
            with zipfile.ZipFile(stream) as archive:
                check_growth(sum(one.file_size for one in archive.infolist()), stream.size())
                for member in archive.namelist():
                    if not member.endswith(".npy"):
                        raise ValueError(f"it holds {member}, which is no array")
                    with archive.open(member) as content:
                        results[member[: -len(".npy")]] = read(content)
    return results


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Raise every error of a malformed file as a ValueError that names the file."""
    try:
        yield
    except Exception as error:  # zipfile and numpy have many, also such as NotImplementedError
        hint = ""
        if "Object arrays" in str(error):
            hint = "; an array of Python objects is a pickle, which could run programs"
        raise ValueError(
            f"{path} is no whole .npz or .npy file of numbers: {error}{hint}"
        ) from None
