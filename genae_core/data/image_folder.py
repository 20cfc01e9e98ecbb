"""A folder of PNG, JPEG, WebP, BMP, GIF or TIFF images, with or without a folder per class."""

from dataclasses import dataclass

import numpy as np

from genae_core.config import register, require, require_int
from genae_core.data.base import Source
from genae_core.data.file_source import FileSource, note_passed_over, reject_unreadable
from genae_core.data.images import check_crop, check_size
from genae_core.data.names import escape_name
from genae_core.data.official_files import check_source, draw_split_indices, stamp
from genae_core.data.storage import Folder, Listing

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@register("data.image_folder")
@dataclass(frozen=True, kw_only=True)
class ImageFolderConfig:
    """The images below a folder, cut by a seed into 6/8 train, 1/8 val and 1/8 test.

    Transparent pixels are laid on a white ground.

    Args:
        root: A path or a URI. If every image lies in a subfolder, the topmost subfolder is the
            class of the image. If no image lies in a subfolder, the images have no labels.
        size: The images are resized to size x size pixels, in RGB.
        crop: The side of the central square that is used, as a fraction of the shorter side.
        split_seed: The seed of the cut and of the choice of `max_images`.
        max_images: The largest number of images; if there are more, they are chosen at random.
            None uses all.

    Raises:
        ValueError: A field is out of range.
    """

    root: str
    size: int = 64
    crop: float = 1.0
    split_seed: int = 0
    max_images: int | None = None

    def __post_init__(self) -> None:
        check_source(self.root, False)
        check_size(self.size)
        check_crop(self.crop)
        require_int(split_seed=self.split_seed)
        require(self.split_seed >= 0, "split_seed must be >= 0", split_seed=self.split_seed)
        if self.max_images is not None:
            require_int(max_images=self.max_images)
            require(self.max_images >= 3, "max_images must be >= 3", max_images=self.max_images)

    @property
    def name(self) -> str:
        return "image_folder"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3, self.size, self.size)

    @property
    def binarize(self) -> bool:
        return False

    def stamp(self) -> str:
        return stamp(self._list_files().files)

    def source(self) -> Source:
        listing = self._list_files()
        files = listing.files
        names = np.array([file.name for file in files])
        classes, labels = self._classes([file.name for file in files])
        num_held_out = max(1, len(names) // 8)
        indices = draw_split_indices(len(names), num_held_out, num_held_out, self.split_seed)
        parts = dict(zip(("train", "val", "test"), indices, strict=True))
        note = (
            f"image_folder: {len(names):,} images, cut by seed {self.split_seed} into "
            f"{len(names) - 2 * num_held_out:,} train, {num_held_out:,} val and "
            f"{num_held_out:,} test images, "
            + (f"in {len(classes)} classes" if classes else "without classes")
            + "; transparent pixels are laid on a white ground."
        )
        return FileSource(
            folder=Folder(self.root),
            names={split: tuple(names[index].tolist()) for split, index in parts.items()},
            labels={split: labels[index] for split, index in parts.items()},
            stamp=stamp(files),
            size=self.size,
            crop=self.crop,
            label_names=classes,
            notes=(note, *note_passed_over("image_folder", listing)),
            rejected=reject_unreadable(listing),
        )

    def _list_files(self) -> Listing:
        """The image files, at most `max_images`. Raises ValueError for fewer than three."""
        folder = Folder(self.root)
        if not folder.exists():
            raise ValueError(f"image_folder: there is no folder {folder.uri}")
        listing = folder.scan(*ENDINGS)
        files = listing.files
        if self.max_images is not None and len(files) > self.max_images:
            order = np.random.default_rng(self.split_seed).permutation(len(files))
            files = [files[row] for row in np.sort(order[: self.max_images])]
        if len(files) < 3:
            raise ValueError(
                f"image_folder: three splits need at least 3 images, got {len(files)} below "
                f"{folder.uri} ({', '.join(ENDINGS)})"
            )
        return listing._replace(files=files)

    def _classes(self, names: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
        """The names of the classes, and the class of each image, int64 [N].

        Without class folders there are no names, and every class is 0.
        """
        folders = [name.split("/", 1)[0] if "/" in name else "" for name in names]
        if not any(folders):
            return (), np.zeros(len(names), np.int64)
        if not all(folders):
            beside = escape_name(names[folders.index("")])
            raise ValueError(
                f"image_folder: {folders.count(''):,} images, such as {beside}, lie beside the "
                f"class folders in {self.root}; put every image in a class folder, or none"
            )
        classes, labels = np.unique(folders, return_inverse=True)
        return tuple(escape_name(name) for name in classes.tolist()), labels.astype(np.int64)
