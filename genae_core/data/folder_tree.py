"""What the folders of a user's images mean: splits, classes, and files that are passed over.

Everything here works on the names of the files alone, so it is the same for a disk and a store.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from genae_core.data.base import SPLITS
from genae_core.data.names import escape_name

# The usual endings of the formats in `pillow_decoding.FORMATS`.
ENDINGS_OF_FORMAT = {
    "AVIF": (".avif",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg"),
    "PNG": (".apng", ".png"),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
ENDINGS = tuple(sorted(ending for group in ENDINGS_OF_FORMAT.values() for ending in group))
# Folders and files that systems and programs make. They hold thumbnails and copies, not images
# that the user put there.
SYSTEM_FOLDERS = {
    *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),  # network storage
    *("__macosx", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
}
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
SPLIT_OF_WORD = {
    **dict.fromkeys(("train", "training", "trn", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "valset", "validset"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "testset"), "test"),
}
# Words beside "train" in a name such as "train_set" or "Train images" that say nothing more.
FILLERS = {"set", "split", "data", "dataset", "image", "images", "img", "imgs", "folder"}
NAMES_SHOWN = 10

Path = tuple[str, ...]  # the names of a folder and of the folders that hold it


class Ignored(NamedTuple):
    """Files that are passed over for the same reason.

    Attributes:
        reason: Why, as the end of a sentence such as "5 files".
        names: The names of the files.
    """

    reason: str
    names: list[str]


class ImageTree(NamedTuple):
    """The meaning of the folders that hold images.

    Attributes:
        splits: The indices of the images of each split that the folders name. The only key is ""
            if they name none.
        classes: The names of the classes; empty if there are none.
        labels: The class of each image; 0 if there are no classes.
        wrapper: The folder below which the splits and classes lie, such as "archive/"; "" for the
            root itself.
        split_folders: The folder of each split, such as "archive/train/", for messages.
        is_plain: Whether the classes are simply the topmost folders, and there are no splits.
    """

    splits: dict[str, list[int]]
    classes: tuple[str, ...]
    labels: list[int]
    wrapper: str
    split_folders: dict[str, str]
    is_plain: bool


def sort_out(names: Iterable[str]) -> tuple[list[int], list[Ignored]]:
    """Separate the names of image files from the names of files that are passed over.

    Args:
        names: The names of all files, relative to the root, with "/".

    Returns:
        The indices of the image files, and the other files by reason.
    """
    images: list[int] = []
    ignored: dict[str, list[str]] = {}
    system: dict[str, str | None] = {}  # by folder, since a folder holds many files
    for index, name in enumerate(names):
        folder, _, base = name.rpartition("/")
        if folder not in system:
            system[folder] = _find_system_folder(folder)
        maker, ending = system[folder], _ending(base)
        if maker is not None:
            reason = f"in folders named {maker}, which programs make"
        elif base.startswith(".") or "/." in f"/{folder}":
            reason = "hidden"
        elif base.lower() in SYSTEM_FILES:
            reason = f"named {base.strip()}, which programs make"
        elif ending not in ENDINGS:
            reason = f"of the type {escape_name(ending)}" if ending else "without an ending"
        else:
            images.append(index)
            continue
        ignored.setdefault(reason, []).append(name)
    groups = [Ignored(reason, group) for reason, group in ignored.items()]
    return images, sorted(groups, key=lambda group: (-len(group.names), group.reason))


def read_tree(names: Sequence[str], root: str) -> ImageTree:
    """Find the splits and the classes of images.

    Folders that only hold one other folder are passed through. Below them lie either the splits
    (train, val or test, with the usual other spellings), or the classes. Splits may also lie in
    every class folder.

    Args:
        names: The names of the image files, relative to the root, with "/".
        root: The root, for messages.

    Returns:
        The meaning of the folders.

    Raises:
        ValueError: The folders are ambiguous. The message names them and says what to do.
    """
    folders = _Folders(names, root)
    base = folders.descend(())
    meaning = _find_splits(folders, base)
    has_splits = meaning is not None
    if meaning is None:
        places = {"": base}
        split_of = dict.fromkeys(folders.counts, "")
        meaning = _Meaning(split_of, _find_classes(folders, places), places)
    classes = sorted({name for name in meaning.class_of.values() if name})
    number = {name: label for label, name in enumerate(classes)}
    splits: dict[str, list[int]] = {split: [] for split in meaning.places}
    for index, path in enumerate(folders.paths):
        splits[meaning.split_of[path]].append(index)
    is_flat = not has_splits and not classes
    return ImageTree(
        splits=splits,
        classes=tuple(classes),
        labels=[number.get(meaning.class_of[path], 0) for path in folders.paths],
        wrapper=_text(folders.common() if is_flat else base),
        split_folders={split: _text(place) for split, place in meaning.places.items() if split},
        is_plain=not has_splits and not (base and classes),
    )


def restrict(tree: ImageTree, chosen: Sequence[int]) -> ImageTree:
    """The tree with only the images at the indices `chosen`, which are ascending."""
    row_of = {index: row for row, index in enumerate(chosen)}
    labels = [tree.labels[index] for index in chosen]
    present = sorted(set(labels))
    number = {label: row for row, label in enumerate(present)}
    return tree._replace(
        splits={
            split: [row_of[index] for index in indices if index in row_of]
            for split, indices in tree.splits.items()
        },
        classes=tuple(tree.classes[label] for label in present) if tree.classes else (),
        labels=[number[label] for label in labels],
    )


def split_named(folder: str) -> str | None:
    """The split that the name of a folder means: "train", "val", "test" or None.

    >>> [split_named(name) for name in ("Train", "validation_set", "test2017", "test tube")]
    ['train', 'val', 'test', None]
    """
    words = [word.rstrip("0123456789") for word in re.split(r"[ _.-]+", folder.lower())]
    words = [word for word in words if word and word not in FILLERS]
    return SPLIT_OF_WORD.get(words[0]) if len(words) == 1 else None


def describe_classes(classes: Sequence[str]) -> str:
    """The number and the names of the classes, shortened if they are many."""
    if not classes:
        return "without classes"
    count = len(classes)
    return f"in {count:,} {'classes' if count > 1 else 'class'}: {list_names(classes)}"


def list_names(names: Sequence[str], limit: int = NAMES_SHOWN) -> str:
    """Names in a row, and how many more there are."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(escape_name(name) for name in names[:limit]) + more


def describe_ignored(ignored: Sequence[Ignored]) -> str:
    """The number of files that are passed over, by reason and with an example each."""
    total = sum(len(group.names) for group in ignored)
    parts = [
        f"{len(group.names):,} {group.reason} (such as {escape_name(group.names[0])})"
        for group in ignored[:NAMES_SHOWN]
    ]
    rest = sum(len(group.names) for group in ignored[NAMES_SHOWN:])
    if rest:
        parts.append(f"{rest:,} of other types")
    return f"{total:,} file{'s' * (total > 1)} passed over: {', '.join(parts)}"


def _ending(base: str) -> str:
    """The lower-case ending of a file name, with its dot; "" if it has none."""
    stem, dot, ending = base.rpartition(".")
    return f".{ending.lower()}" if dot and stem and ending else ""


def _find_system_folder(folder: str) -> str | None:
    """The first folder of a path that a system or a program makes, or None."""
    for part in folder.split("/"):
        if part.lower() in SYSTEM_FOLDERS or part == ".ipynb_checkpoints":
            return part
    return None


class _Folders:
    """The folders that hold images.

    Attributes:
        paths: The folder of each image.
        counts: The number of images in each folder, without those in its subfolders.
    """

    def __init__(self, names: Sequence[str], root: str) -> None:
        self.root = root.rstrip("/")
        self.paths: list[Path] = []
        self._examples: dict[Path, str] = {}
        path_of: dict[str, Path] = {}  # Splitting a million names would take long.
        for name in names:
            folder = name.rpartition("/")[0]
            if folder not in path_of:
                path_of[folder] = tuple(folder.split("/")) if folder else ()
                self._examples[path_of[folder]] = name
            self.paths.append(path_of[folder])
        self.counts = Counter(self.paths)

    def children(self, base: Path) -> dict[str, int]:
        """The number of images below each folder of a folder."""
        depth = len(base)
        children: dict[str, int] = {}
        for path, count in self.counts.items():
            if len(path) > depth and path[:depth] == base:
                children[path[depth]] = children.get(path[depth], 0) + count
        return children

    def descend(self, base: Path, stop: frozenset[str] = frozenset()) -> Path:
        """Pass through folders that hold one folder and no images, down to the last one that
        holds only folders. A folder whose name is in `stop` is not entered."""
        while not self.counts[base]:
            children = [*self.children(base)]
            if len(children) != 1 or children[0] in stop or self.counts[(*base, children[0])]:
                break
            base = (*base, children[0])
        return base

    def common(self) -> Path:
        """The folder that holds all images, as deep as possible."""
        # The first and the last path in order differ at least as early as any two others.
        first, last = min(self.counts, default=()), max(self.counts, default=())
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
        return tuple(name for name, _ in same)

    def place(self, base: Path) -> str:
        """The path or URI of a folder, for messages."""
        return escape_name("/".join((self.root, *base)))

    def check_no_images(self, base: Path, kind: str, beside: Iterable[str]) -> None:
        """Raise ValueError if a folder holds images beside the folders of some kind."""
        if self.counts[base]:
            raise ValueError(
                f"image_folder: {self.counts[base]:,} images, such as "
                f"{escape_name(self._examples[base])}, lie "
                f"beside the {kind} folders in {self.place(base)} ({list_names(sorted(beside))}); "
                f"put every image in a {kind} folder, or none"
            )


class _Meaning(NamedTuple):
    """The split and the class of each folder that holds images, and the folder of each split."""

    split_of: dict[Path, str]
    class_of: dict[Path, str]
    places: dict[str, Path]


def _find_splits(folders: _Folders, base: Path) -> _Meaning | None:
    """The splits that folders name, or None if they name none."""
    children = folders.children(base)
    split_folders = _match_splits(children, folders.place(base))
    if split_folders is None:
        return _find_splits_in_classes(folders, base)
    folders.check_no_images(base, "split", children)
    places = {split: (*base, folder) for split, folder in split_folders.items()}
    split_of = {
        path: split
        for split, place in places.items()
        for path in folders.counts
        if path[: len(place)] == place
    }
    return _Meaning(split_of, _find_classes(folders, places), places)


def _match_splits(children: Mapping[str, int], place: str) -> dict[str, str] | None:
    """The folder of each split among folders, or None if the folders are classes.

    Folders are splits if one means train and another val or test. A single folder named train
    among others may be a class, of vehicles for example.
    """
    named = {folder: split_named(folder) for folder in sorted(children)}
    splits = {*named.values()} - {None}
    others = [folder for folder, split in named.items() if split is None]
    if splits == {"val", "test"} and not others:
        raise ValueError(
            f"image_folder: {place} holds the splits {', '.join(named)}, but no folder train; add "
            "one, or rename the folders if they are classes"
        )
    if "train" not in splits or len(splits) < 2:
        return None
    if others:
        counted = [f"{folder} ({children[folder]:,} images)" for folder in others]
        raise ValueError(
            f"image_folder: {place} holds the splits "
            f"{', '.join(folder for folder in named if folder not in others)} and beside them "
            f"{list_names(counted)}; move away what belongs to no split, or rename the folders if "
            "all are classes"
        )
    matched: dict[str, str] = {}
    for folder, split in named.items():
        assert split is not None
        if split in matched:
            raise ValueError(
                f"image_folder: {matched[split]} and {folder} in {place} both mean the split "
                f"{split}; put their images in one folder, or rename the folders if they are "
                "classes"
            )
        matched[split] = folder
    return {split: matched[split] for split in SPLITS if split in matched}


def _find_splits_in_classes(folders: _Folders, base: Path) -> _Meaning | None:
    """The splits, if every class folder holds only folders that name splits."""
    depth = len(base)
    split_of: dict[Path, str] = {}
    names: dict[str, set[str]] = {}
    for path in folders.counts:
        split = split_named(path[depth + 1]) if len(path) > depth + 1 else None
        if split is None:
            return None
        split_of[path] = split
        names.setdefault(split, set()).add(path[depth + 1])
    if "train" not in names or len(names) < 2:
        return None
    places = {
        split: (*base, "*", " or ".join(sorted(names[split])))
        for split in SPLITS
        if split in names
    }
    return _Meaning(split_of, {path: path[depth] for path in folders.counts}, places)


def _find_classes(folders: _Folders, places: Mapping[str, Path]) -> dict[Path, str]:
    """The class of each folder that holds images; "" if there are no classes.

    One folder alone is no class, since there is nothing that it could be told apart from.

    Args:
        folders: The folders that hold images.
        places: The folder of each split.

    Returns:
        The name of the class of each folder.

    Raises:
        ValueError: Images lie beside class folders, or only some splits have classes.
    """
    classes: set[str] = set()
    for place in places.values():
        base = folders.descend(place)
        children = folders.children(base)
        if children:
            folders.check_no_images(base, "class", children)
        if len(children) > 1:
            classes |= set(children)
    if not classes:
        return dict.fromkeys(folders.counts, "")
    class_of: dict[Path, str] = {}
    without = []
    for split, place in places.items():
        base = folders.descend(place, frozenset(classes))
        if not set(folders.children(base)) & classes:
            without.append(split)
        for path in folders.counts:
            if path[: len(base)] == base and len(path) > len(base):
                class_of[path] = path[len(base)]
    if without:
        _refuse_splits_without_classes(folders, places, classes, without)
    return class_of


def _refuse_splits_without_classes(
    folders: _Folders, places: Mapping[str, Path], classes: set[str], without: Sequence[str]
) -> None:
    """Raise ValueError, because only some splits have classes."""
    having = [folders.place(place) for split, place in places.items() if split not in without]
    lacking = [folders.place(places[split]) for split in without]
    raise ValueError(
        f"image_folder: {' and '.join(having)} has class folders "
        f"({list_names(sorted(classes))}), but {' and '.join(lacking)} has none of them; put its "
        f"images in folders of these classes, or read {having[0]} alone, which is then cut by the "
        "seed"
    )


def _text(path: Path) -> str:
    """The text of a folder below the root, with a last "/"; "" for the root itself."""
    return "".join(f"{part}/" for part in path)
