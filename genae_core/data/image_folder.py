"""Any folder of images: PNG, JPEG, WebP, BMP, GIF or TIFF, in class folders or without."""

from dataclasses import dataclass

import numpy as np

from genae_core.config import register, require, require_int
from genae_core.data.base import Source
from genae_core.data.file_source import FileSource
from genae_core.data.images import check_crop, check_size
from genae_core.data.official_files import check_source, seeded_cut, stamp
from genae_core.data.storage import Folder, Found

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@register("data.image_folder")
@dataclass(frozen=True, kw_only=True)
class ImageFolderConfig:
    """The images below a folder, cut into 6/8 train, 1/8 val and 1/8 test by a seed.

    root: the folder, on disk or as a URI. Where every image lies in a folder of its own below
    it, the first of these folders is its class; where none does, the images have no labels.
    size: the images are resized to size x size pixels, in RGB.
    crop: the side of the central square that is kept, as a fraction of the shorter side.
    max_images: take a seeded choice of so many (None: all).
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
        return stamp(self._found())

    def source(self) -> Source:
        found = self._found()
        names = np.array([file.name for file in found])
        classes, labels = self._classes([file.name for file in found])
        held = max(1, len(names) // 8)
        parts = dict(
            zip(
                ("train", "val", "test"),
                seeded_cut(len(names), held, held, self.split_seed),
                strict=True,
            )
        )
        note = (
            f"image_folder: {len(names):,} images, cut by seed {self.split_seed} into "
            f"{len(names) - 2 * held:,} train, {held:,} val and {held:,} test images, "
            + (f"in {len(classes)} classes." if classes else "without classes.")
        )
        return FileSource(
            folder=Folder(self.root),
            names={split: tuple(names[index].tolist()) for split, index in parts.items()},
            labels={split: labels[index] for split, index in parts.items()},
            stamp=stamp(found),
            size=self.size,
            crop=self.crop,
            label_names=classes,
            notes=(note,),
        )

    def _found(self) -> list[Found]:
        folder = Folder(self.root)
        if not folder.exists():
            raise ValueError(f"image_folder: there is no folder {folder.uri}")
        found = folder.files(*ENDINGS)
        if self.max_images is not None and len(found) > self.max_images:
            order = np.random.default_rng(self.split_seed).permutation(len(found))
            found = [found[row] for row in np.sort(order[: self.max_images])]
        if len(found) < 3:
            raise ValueError(
                f"image_folder: three splits need at least 3 images, got {len(found)} below "
                f"{folder.uri} ({', '.join(ENDINGS)})"
            )
        return found

    def _classes(self, names: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
        """The classes' names and each image's class; zeros where there are none."""
        above = [name.split("/", 1)[0] if "/" in name else "" for name in names]
        if not any(above):
            return (), np.zeros(len(names), np.int64)
        if not all(above):
            beside = names[above.index("")]
            raise ValueError(
                f"image_folder: {above.count(''):,} images, such as {beside}, lie beside the "
                f"class folders in {self.root}; put every image in a class folder, or none"
            )
        classes, labels = np.unique(above, return_inverse=True)
        return tuple(classes.tolist()), labels.astype(np.int64)
