"""Functions that find and check the official files of a dataset, and that cut splits."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from genae_core.config import require, require_int
from genae_core.data.base import Split, cut_in_halves
from genae_core.data.download import fetch
from genae_core.data.folder_tree import ARCHIVES, SYSTEM_FOLDERS, list_names
from genae_core.data.storage import FileStat, Folder

Place = TypeVar("Place")  # of the files, as a dataset describes it

ARRAYS_HINT = (
    "; images of your own are read from an .npz file of numpy by the dataset arrays, or from a "
    "folder by image_folder"
)
SURVEY_DEPTH = 4  # archives of archives do not nest deeper


class Location(NamedTuple):
    """Where the files of a dataset lie.

    Attributes:
        folder: The folder.
        files: The path of each file, relative to the folder, by its official name.
        notes: A sentence for the user if this is not the usual place.
        below: The path of the folder below the data root.
    """

    folder: Folder
    files: dict[str, str]
    notes: tuple[str, ...] = ()
    below: str = ""

    def stamp(self) -> str:
        """The stamp of the files, as in `DataConfig.stamp`."""
        wanted = set(self.files.values())
        return stamp(file for file in self.folder.files() if file.name in wanted)


class Layout(NamedTuple):
    """Where the files of a dataset may lie.

    Attributes:
        name: The name of the dataset.
        folders: The usual folders, relative to the data root. The first one that holds all of
            `files` is used. If none does, the one folder below the root that holds them is used.
        files: The official names of the files.
        endings: What may follow the name of a file, such as ".gz" for a packed one.
        official_name: Turns another spelling of a file's name into the official one.
        others: Parts of the names of folders that hold another dataset with the same file names.
        signs: What the lower-case name of a file or folder says about what is there instead.
    """

    name: str
    folders: tuple[str, ...]
    files: tuple[str, ...]
    endings: tuple[str, ...] = ("",)
    official_name: Callable[[str], str] = str
    others: tuple[str, ...] = ()
    signs: Mapping[str, str] = MappingProxyType({})

    def list_missing(self, folder: Folder) -> list[str]:
        """List the files that `folder` lacks."""
        return [file for file in self.files if self._spelling(folder, file) is None]

    def describe(self, root: Folder) -> str:
        """Describe in words which files are expected where."""
        places = " or ".join(self._at(root, name).uri for name in self.folders)
        endings = "".join(f" (or {ending})" for ending in self.endings if ending)
        return f"{', '.join(self.files)}{endings} in {places}"

    def list_folders(self, root: Folder) -> list[Folder]:
        """List the usual folders."""
        return [self._at(root, name) for name in self.folders]

    def open_usual(self, root: Folder) -> Location | None:
        """The first usual folder that holds all files, or None."""
        for folder in self.list_folders(root):
            spellings = {file: self._spelling(folder, file) for file in self.files}
            files = {file: name for file, name in spellings.items() if name is not None}
            if len(files) == len(self.files):
                return Location(folder, files)
        return None

    def group(self, paths: Iterable[str]) -> dict[str, dict[str, str]]:
        """For each folder among paths that holds some of the files: their paths by official name.

        A file may also lie in a folder that has its own name, as some archives unpack it.
        """
        folders: dict[str, dict[str, str]] = {}
        for path in paths:
            folder, _, base = path.rpartition("/")
            name = self.official_name(base)
            if name not in self.files:
                continue
            above, _, last = folder.rpartition("/")
            group = folders.setdefault(above if self.official_name(last) == name else folder, {})
            group.setdefault(name, path)
        return folders

    def is_other(self, folder: str) -> bool:
        """Whether a folder's name says that it holds another dataset."""
        return any(word in folder.lower() for word in self.others)

    def _spelling(self, folder: Folder, file: str) -> str | None:
        """The name of a file in a folder, with its ending; None if the folder lacks it."""
        for name in (file + ending for ending in self.endings):
            # Some archives unpack a file into a folder of its own name; `group` finds it there.
            if folder.exists(name) and not folder.exists(f"{name}/{name}"):
                return name
        return None

    @staticmethod
    def _at(root: Folder, name: str) -> Folder:
        """The folder of this name below the data root; the root itself for an empty name."""
        return root / name if name else root


def survey(root: Folder, depth: int = SURVEY_DEPTH) -> list[str]:
    """List files in and below a folder, at most `depth` folders deep, relative to it.

    Hidden files are left out, and so are folders that cannot be read and the content of folders
    that programs make.
    """
    paths: list[str] = []
    level = [""]
    for _ in range(depth + 1):
        below = []
        for folder in level:
            with contextlib.suppress(OSError):
                folders, files = (root / folder if folder else root).children()
                prefix = f"{folder}/" if folder else ""
                paths += [prefix + name for name in files]
                below += [prefix + name for name in folders if name.lower() not in SYSTEM_FOLDERS]
        level = below
    return paths


def check_source(root: str, download: bool) -> None:
    """Raise ValueError unless a config's `root` is a text and `download` is a bool."""
    require(isinstance(root, str) and root.strip() != "", "root must name a folder", root=root)
    check_flags(download=download)


def check_split_seed(seed: int) -> None:
    """Raise ValueError unless a config's `split_seed` is a whole number >= 0."""
    require_int(split_seed=seed)
    require(seed >= 0, "split_seed must be >= 0", split_seed=seed)


def check_flags(**values: object) -> None:
    """Raise ValueError unless each value is a bool."""
    for name, value in values.items():
        require(isinstance(value, bool), f"{name} must be True or False", **{name: value})


def locate(layout: Layout, root: str, download: bool) -> Location:
    """Find the folder that holds the files of a dataset.

    With `download`, missing files are downloaded first. If files are missing, it raises ValueError
    with their names, the places where they belong, and what is nearly there.
    """
    location = find_or_fetch(
        lambda base: layout.open_usual(base) or find_elsewhere(layout, base),
        layout,
        root,
        download,
    )
    if location is None:
        raise ValueError(explain_missing(layout, root))
    return location


def find_or_fetch(
    find: Callable[[Folder], Place | None], layout: Layout, root: str, download: bool
) -> Place | None:
    """Find the files of a dataset, if necessary after a download.

    Args:
        find: Finds the files below a folder, or returns None.
        layout: The layout of the files that are downloaded.
        root: The data root.
        download: Whether missing files are downloaded.

    Returns:
        What `find` returns.

    Raises:
        ValueError: The download fails, or `root` is on an object store.
    """
    base = Folder(root)
    place = find(base)
    if place is None and download:
        require(base.local is not None, "download needs a local root", root=root)
        fetch(layout.name, Path(base.uri), layout.describe(base))
        place = find(base)
    return place


def find_elsewhere(layout: Layout, base: Folder) -> Location | None:
    """The one folder below the root that holds all files, or None.

    Raises ValueError if several folders do.
    """
    complete = [
        location for location in list_complete(layout, base) if not layout.is_other(location.below)
    ]
    return only_one(layout.name, base, complete)


def list_complete(layout: Layout, base: Folder) -> list[Location]:
    """All folders below the root that hold all files, whatever their names say."""
    locations = []
    for folder, files in sorted(layout.group(survey(base)).items()):
        if len(files) == len(layout.files):
            place = base / folder if folder else base
            note = f"{layout.name}: the files are read from {place.uri}."
            start = len(folder) + 1 if folder else 0
            names = {name: path[start:] for name, path in files.items()}
            locations.append(Location(place, names, (note,), folder))
    return locations


def only_one(name: str, base: Folder, locations: Sequence[Location]) -> Location | None:
    """The only one of these places, or None if there is none.

    Raises ValueError if there are several.
    """
    if len(locations) > 1:
        places = ", ".join(location.folder.uri for location in locations)
        raise ValueError(
            f"{name}: several folders below {base.uri} hold its files: {places}; give one "
            "of them as the data root"
        )
    return locations[0] if locations else None


def explain_missing(layout: Layout, root: str) -> str:
    """The message that files are missing, with what is nearly there."""
    base = Folder(root)
    help_text = f"expected {layout.describe(base)}; put them there, or let --download fetch them"
    if base.local is not None and not base.local.is_dir():
        return f"{layout.name}: the data root {root!r} is no folder; {help_text}"
    folders = layout.list_folders(base)
    nearest = min(folders, key=lambda folder: len(layout.list_missing(folder)))
    lacking = ", ".join(layout.list_missing(nearest))
    near = "; ".join(_describe_near(layout, base))
    return f"{layout.name}: {nearest.uri} lacks {lacking}; {help_text}" + (
        f". Nearly there: {near}" if near else ""
    )


def _describe_near(layout: Layout, base: Folder) -> list[str]:
    """What lies below the root and is nearly what is missing."""
    paths = survey(base)
    sentences = []
    for folder, files in sorted(layout.group(paths).items()):
        place = (base / folder if folder else base).uri
        if layout.is_other(folder):
            sentences.append(
                f"{place} holds files of these names, but is another dataset by its name"
            )
        elif len(files) < len(layout.files):
            sentences.append(f"{place} holds only {', '.join(sorted(files))}")
    parts = {part for path in paths for part in path.lower().split("/")}
    sentences += [sentence for sign, sentence in layout.signs.items() if sign in parts]
    packed = [path for path in paths if path.lower().endswith(ARCHIVES)]
    if packed:
        sentences.append(f"{list_names(packed, 3)} may have to be unpacked first")
    last = base.uri.rpartition("/")[2]
    if last in layout.files:
        sentences.append(f"give the folder that holds {last} as the data root")
    if not sentences:
        entries = list(dict.fromkeys(path.partition("/")[0] for path in paths))
        sentences.append(f"{base.uri} holds {list_names(entries, 5) or 'no files'}")
    return sentences


def stamp(files: Iterable[FileStat]) -> str:
    """The sha256 (hex) over the names, sizes and times of files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(repr(tuple(file)).encode())
    return digest.hexdigest()


def check_digest(
    path: str, content: bytes | bytearray, algorithm: str, expected: str, look_alikes: str = ""
) -> None:
    """Raise ValueError unless the content has the official file's checksum (hex).

    `look_alikes` names other datasets whose files have the same names and numbers of images.
    """
    digest = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if digest != expected:
        raise ValueError(
            f"{path} has the official number of images but not the official content: expected "
            f"{algorithm} {expected}, found {digest}; fetch the file again"
            + (f" (or is it {look_alikes}?)" if look_alikes else "")
            + ARRAYS_HINT
        )


def partial_note(name: str, file: str, count: int, official: int) -> str:
    """The note that a file has `count` images, but the official file has `official`."""
    return (
        f"{name}: {file} holds {count:,} images, the official one {official:,}: this is "
        f"another set, so do not report numbers on it as {name} results."
    )


def split_reference(name: str, train: Split, reference: Split) -> dict[str, Split]:
    """Make three splits: `train`, and two seeded halves of `reference` as val and test.

    Raises ValueError unless each split has at least one image.
    """
    num_train, num_reference = len(train.images), len(reference.images)
    if num_train < 1 or num_reference < 2:
        raise ValueError(
            f"{name}: at least 1 training and 2 test images are needed, got {num_train} and "
            f"{num_reference}"
        )
    val, test = cut_in_halves(reference, seed=0)
    return {"train": train, "val": val, "test": test}


def draw_split_indices(
    count: int, num_val: int, num_test: int, seed: int = 0
) -> tuple[NDArray[np.int64], ...]:
    """Draw the indices of train, val and test. Each index of 0..count-1 is in one of them, and
    each of them is ascending."""
    order = np.random.default_rng(seed).permutation(count)
    val, test, train = np.split(order, [num_val, num_val + num_test])
    return np.sort(train), np.sort(val), np.sort(test)
