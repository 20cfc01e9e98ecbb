"""The aligned and cropped faces of CelebA, which are read from its JPEG files and lists."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.config import register, require, require_int
from genae_core.data.base import Rejected, Source
from genae_core.data.celeba_lists import note_skipped, read_attributes, split_names
from genae_core.data.file_source import FileSource, note_passed_over, reject_unreadable
from genae_core.data.images import check_crop, check_size
from genae_core.data.names import escape_name
from genae_core.data.official_files import Layout, check_source, locate, stamp
from genae_core.data.storage import Folder, Listing

NUM_OFFICIAL = 202_599
WIDTH, HEIGHT = 178, 218  # the size of an official image in pixels
IMAGES, ATTRIBUTES, PARTITION = (
    "img_align_celeba",
    "list_attr_celeba.txt",
    "list_eval_partition.txt",
)
LAYOUT = Layout("celeba", ("", "celeba"), (IMAGES, ATTRIBUTES))


@register("data.celeba")
@dataclass(frozen=True, kw_only=True)
class CelebAConfig:
    """Faces with 40 attributes (Liu et al. 2015), split by the official partition.

    If the partition is incomplete, genae cuts the images by a seed instead, and a note says so.

    Args:
        root: A folder with img_align_celeba/ and list_attr_celeba.txt, or with a folder celeba/
            that holds both.
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
        require_int(split_seed=self.split_seed)
        require(self.split_seed >= 0, "split_seed must be >= 0", split_seed=self.split_seed)

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
        folder, files, files_stamp, listing = self._list_files()
        rows, notes = read_attributes(folder, ATTRIBUTES)
        present = set(files)
        names = [name for name in rows.by_image if name in present]
        if not names:
            raise ValueError(
                f"celeba: none of the {len(rows.by_image):,} images listed in "
                f"{folder.path_of(ATTRIBUTES)} is in {folder.path_of(IMAGES)}, which holds "
                f"{len(files):,} .jpg files"
            )
        absent = [name for name in rows.by_image if name not in present]
        notes += note_skipped(absent, f"rows without an image in {IMAGES}")
        rowless = [name for name in files if name not in rows.by_image]
        notes += note_skipped(rowless, f"images without a row in {ATTRIBUTES}")
        if len(names) != NUM_OFFICIAL:
            notes.append(
                f"celeba: {len(names):,} of the official {NUM_OFFICIAL:,} images are here: do not "
                "report numbers on them as celeba results."
            )
        parts, cut_notes, unassigned = split_names(names, folder, PARTITION, self.split_seed)
        split_images = {split: tuple(names[i] for i in index) for split, index in parts.items()}
        labels: dict[str, NDArray[np.int64] | NDArray[np.uint8]] = {}
        for split, images in split_images.items():
            labels[split] = np.stack([rows.by_image[image] for image in images])
        return FileSource(
            folder=folder / IMAGES,
            names=split_images,
            labels=labels,
            stamp=files_stamp,
            size=self.size,
            crop=self.crop,
            aspect=WIDTH / HEIGHT,
            label_names=rows.names,
            notes=(*notes, *cut_notes, *note_passed_over("celeba", listing)),
            rejected=(
                *reject_unreadable(listing),
                *(Rejected(escape_name(name), f"has no row in {ATTRIBUTES}") for name in rowless),
                *(
                    Rejected(escape_name(name), f"has no row in {PARTITION}")
                    for name in unassigned
                ),
            ),
        )

    def _list_files(self) -> "_Files":
        """List the images, and stamp all files that are read."""
        folder = locate(LAYOUT, self.root, self.download)
        prefix = f"{IMAGES}/"
        listing = folder.scan(".jpg", ".txt")
        files = [
            file
            for file in listing.files
            if file.name in (ATTRIBUTES, PARTITION) or file.name.startswith(prefix)
        ]
        images = (file.name for file in files if file.name.lower().endswith(".jpg"))
        names = [name.removeprefix(prefix) for name in images]
        return _Files(folder, names, stamp(files), listing)


class _Files(NamedTuple):
    """The folder of the files, the names of its images, the stamp of all files, and what was
    passed over."""

    folder: Folder
    images: list[str]
    stamp: str
    listing: Listing
