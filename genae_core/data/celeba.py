"""The aligned and cropped faces of CelebA, which are read from its JPEG files and lists."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.config import register
from genae_core.data.base import Rejected, Source
from genae_core.data.celeba_lists import note_skipped, read_attributes, split_names, stem_of
from genae_core.data.file_source import FileSource, note_passed_over, reject_unreadable
from genae_core.data.folder_tree import ENDINGS
from genae_core.data.images import check_crop, check_size
from genae_core.data.names import escape_name
from genae_core.data.official_files import (
    Layout,
    check_source,
    check_split_seed,
    locate,
    stamp,
    survey,
)
from genae_core.data.storage import Folder, Listing

NUM_OFFICIAL = 202_599
WIDTH, HEIGHT = 178, 218  # the size of an official image in pixels
IMAGES, ATTRIBUTES, PARTITION = (
    "img_align_celeba",
    "list_attr_celeba.txt",
    "list_eval_partition.txt",
)
LAYOUT = Layout(
    "celeba",
    ("", "celeba"),
    (IMAGES, ATTRIBUTES),
    signs={
        "img_align_celeba": (
            "without list_attr_celeba.txt, the dataset image_folder reads the images of "
            "img_align_celeba"
        ),
        "img_celeba": "img_celeba holds the images in the wild; the aligned ones are read",
        "celeba-hq-img": "CelebA-HQ is another dataset, which the dataset image_folder reads",
        "celeba_hq": "CelebA-HQ is another dataset, which the dataset image_folder reads",
    },
)


@register("data.celeba")
@dataclass(frozen=True, kw_only=True)
class CelebAConfig:
    """Faces with 40 attributes (Liu et al. 2015), split by the official partition.

    If the partition is incomplete, genae cuts the images by a seed instead, and a note says so.

    Args:
        root: A folder with img_align_celeba/ and list_attr_celeba.txt, or with a folder celeba/
            that holds both. They may also lie elsewhere below it, and the lists may be Kaggle's
            .csv files.
        size: The images are resized to size x size pixels.
        crop: The side of the central square that is used, as a fraction of the image's width;
            148 of 178 pixels is the common choice. Images of other sizes are accepted if they
            have the same aspect ratio.
        split_seed: The seed of the cut that replaces an incomplete partition.
        download: Whether torchvision downloads missing files.

    Raises:
        ValueError: A field is out of range.
    """

    root: str
    size: int = 64
    crop: float = 148 / WIDTH
    split_seed: int = 0
    download: bool = False

    def __post_init__(self) -> None:
        check_source(self.root, self.download)
        check_size(self.size)
        check_crop(self.crop)
        check_split_seed(self.split_seed)

    @property
    def name(self) -> str:
        return "celeba"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3, self.size, self.size)

    @property
    def binarize(self) -> bool:
        return False

    def stamp(self) -> str:
        return self._list_files().stamp

    def source(self) -> Source:
        place, files, files_stamp, listing = self._list_files()
        folder, attributes, partition = place.folder, place.attributes, place.partition
        rows, notes = read_attributes(folder, attributes)
        file_of = _match(rows.by_image, files)
        names = [name for name in rows.by_image if name in file_of]
        if not names:
            raise ValueError(
                f"celeba: none of the {len(rows.by_image):,} images listed in "
                f"{folder.path_of(attributes)} is in {folder.path_of(place.images)}, which holds "
                f"{len(files):,} .jpg files"
            )
        notes += place.notes
        absent = [name for name in rows.by_image if name not in file_of]
        notes += note_skipped(absent, f"rows without an image in {IMAGES}")
        listed = set(file_of.values())
        rowless = [name for name in files if name not in listed]
        notes += note_skipped(rowless, f"images without a row in {attributes}")
        if len(names) != NUM_OFFICIAL:
            notes.append(
                f"celeba: {len(names):,} of the official {NUM_OFFICIAL:,} images are here: do not "
                "report numbers on them as celeba results."
            )
        parts, cut_notes, unassigned = split_names(names, folder, partition, self.split_seed)
        split_rows = {split: [names[i] for i in index] for split, index in parts.items()}
        labels: dict[str, NDArray[np.int64] | NDArray[np.uint8]] = {}
        for split, images in split_rows.items():
            labels[split] = np.stack([rows.by_image[image] for image in images])
        return FileSource(
            folder=folder / place.images,
            names={
                split: tuple(file_of[image] for image in images)
                for split, images in split_rows.items()
            },
            labels=labels,
            stamp=files_stamp,
            size=self.size,
            crop=self.crop,
            aspect=WIDTH / HEIGHT,
            label_names=rows.names,
            notes=(*notes, *cut_notes, *note_passed_over("celeba", listing)),
            rejected=(
                *reject_unreadable(listing),
                *(Rejected(escape_name(name), f"has no row in {attributes}") for name in rowless),
                *(
                    Rejected(escape_name(file_of[name]), f"has no row in {partition}")
                    for name in unassigned
                ),
            ),
        )

    def _list_files(self) -> "_Files":
        """List the images, and stamp all files that are read."""
        place = _locate(self.root, self.download)
        prefix = f"{place.images}/"
        lists = (place.attributes, place.partition)
        listing = place.folder.scan(*ENDINGS, ".txt", ".csv")
        files = [
            file for file in listing.files if file.name in lists or file.name.startswith(prefix)
        ]
        for endings in ((".jpg",), ENDINGS):
            chosen = [
                file
                for file in files
                if file.name in lists or file.name.lower().endswith((*endings, ".txt"))
            ]
            names = [file.name for file in chosen if file.name.lower().endswith(endings)]
            if names:
                break
        images = [name.removeprefix(prefix) for name in names]
        return _Files(place, images, stamp(chosen), listing)


class _Place(NamedTuple):
    """Where the files lie: a folder, the names in it of the images' folder and of the two lists,
    and notes if this is not the usual place."""

    folder: Folder
    images: str
    attributes: str
    partition: str
    notes: tuple[str, ...] = ()


class _Files(NamedTuple):
    """Where the files lie, the names of the images, the stamp of all files, and what was passed
    over."""

    place: _Place
    images: list[str]
    stamp: str
    listing: Listing


def _locate(root: str, download: bool) -> _Place:
    """Find the images and the lists. Raises ValueError if the images or attributes are missing."""
    base = Folder(root)
    usual = LAYOUT.open_usual(base)
    if usual is not None and usual.folder.exists(PARTITION):
        return _Place(usual.folder, IMAGES, ATTRIBUTES, PARTITION)
    paths = survey(base)
    if usual is not None:
        below = usual.folder.uri.removeprefix(base.uri).strip("/")
        prefix = f"{below}/" if below else ""
        paths = [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]
        partition = _find_list(paths, PARTITION)
        notes = () if partition is None else (f"celeba: the partition is read from {partition}.",)
        return _Place(usual.folder, IMAGES, ATTRIBUTES, partition or PARTITION, notes)
    attributes, partition = _find_list(paths, ATTRIBUTES), _find_list(paths, PARTITION)
    folders = {path.rpartition("/")[0] for path in paths if path.lower().endswith(ENDINGS)}
    images = sorted(folder for folder in folders if folder.rpartition("/")[2] == IMAGES)
    if len(images) > 1:
        places = ", ".join(base.path_of(folder) for folder in images)
        raise ValueError(
            f"celeba: several folders below {base.uri} hold images: {places}; give one of the "
            "folders that hold them as the data root"
        )
    if attributes is not None and len(images) == 1:
        used = [images[0], attributes, *([partition] if partition else [])]
        note = f"celeba: below {base.uri}, {', '.join(used)} are read."
        return _Place(base, images[0], attributes, partition or PARTITION, (note,))
    located = locate(LAYOUT, root, download)  # It downloads the files, or says what is missing.
    return _Place(located.folder, IMAGES, ATTRIBUTES, PARTITION)


def _find_list(paths: Iterable[str], name: str) -> str | None:
    """The path of a list, which Kaggle hands around as a .csv file; None if there is none.

    The official form is preferred, and then the path that comes first.
    """
    for wanted in (name, name.removesuffix(".txt") + ".csv"):
        matches = sorted(path for path in paths if path.rpartition("/")[2] == wanted)
        if matches:
            return matches[0]
    return None


def _match(listed: Iterable[str], files: Sequence[str]) -> dict[str, str]:
    """The file of each listed image; of another ending, if there is none of the listed name."""
    present = set(files)
    by_stem: dict[str, str] = {}
    for file in files:
        by_stem.setdefault(stem_of(file), file)
    pairs = ((name, name if name in present else by_stem.get(stem_of(name))) for name in listed)
    return {name: file for name, file in pairs if file is not None}
