"""CelebA, aligned and cropped, from its JPEG files and lists."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray

from genae_core.config import require
from genae_core.data.base import Split, Splits
from genae_core.data.celeba_lists import cut, read_attributes, skipped
from genae_core.data.files import Layout, check_source, locate
from genae_core.data.images import CHUNK, centre_crop, check_size, resize

OFFICIAL = 202_599
WIDTH, HEIGHT = 178, 218  # of the official images, in pixels
ASPECT_TOLERANCE = 0.02
IMAGES, ATTRIBUTES, PARTITION = (
    "img_align_celeba",
    "list_attr_celeba.txt",
    "list_eval_partition.txt",
)
LAYOUT = Layout("celeba", ("", "celeba"), (IMAGES, ATTRIBUTES))


@dataclass(frozen=True, kw_only=True)
class CelebAConfig:
    """Faces with 40 attributes; the official partition, or a cut of our own where it is absent.

    root: a folder with img_align_celeba/ and list_attr_celeba.txt, or with celeba/ that has them.
    size: the images are resized to size x size pixels.
    crop: the side of the central square that is kept, as a fraction of the image's width (148 of
    178 pixels is the common choice). Images of other sizes are read too, if of the same aspect.
    Liu et al. 2015.
    """

    root: str
    size: int = 64
    crop: float = 148 / WIDTH
    download: bool = False

    def __post_init__(self) -> None:
        check_source(self.root, self.download)
        check_size(self.size)
        number = isinstance(self.crop, int | float) and not isinstance(self.crop, bool)
        require(number and 0 < self.crop <= 1, "crop must be in (0, 1]", crop=self.crop)

    @property
    def name(self) -> str:
        return "celeba"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3, self.size, self.size)

    @property
    def binarize(self) -> bool:
        return False

    def load(self) -> Splits:
        folder = locate(LAYOUT, self.root, self.download)
        rows, notes = read_attributes(folder / ATTRIBUTES)
        files = {path.name for path in (folder / IMAGES).glob("*.jpg")}
        names = [name for name in rows if name in files]
        if not names:
            raise ValueError(
                f"celeba: none of the {len(rows):,} images listed in {folder / ATTRIBUTES} is in "
                f"{folder / IMAGES}, which holds {len(files):,} .jpg files"
            )
        absent = [name for name in rows if name not in files]
        notes += skipped(absent, f"rows without an image in {IMAGES}")
        notes += skipped(sorted(files - rows.keys()), f"images without a row in {ATTRIBUTES}")
        if len(names) != OFFICIAL:
            notes.append(
                f"celeba: {len(names):,} of the official {OFFICIAL:,} images are here: do not "
                "report numbers on them as celeba results."
            )
        parts, cut_notes = cut(names, folder / PARTITION)

        def read(part: NDArray[np.int64]) -> Split:
            chosen = [names[i] for i in part]
            images = self._read_images([folder / IMAGES / name for name in chosen])
            return Split(images, np.stack([rows[name] for name in chosen]))

        train, val, test = (read(part) for part in parts)
        return Splits(train, val, test, (*notes, *cut_notes))

    def _read_images(self, paths: Sequence[Path]) -> NDArray[np.uint8]:
        images = np.empty((len(paths), *self.shape), np.uint8)
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for start in range(0, len(paths), CHUNK):
                crops = list(pool.map(self._read_crop, paths[start : start + CHUNK]))
                sides = np.array([crop.shape[0] for crop in crops])
                for side in np.unique(sides):
                    (here,) = np.nonzero(sides == side)
                    stack = np.stack([crops[i] for i in here]).transpose(0, 3, 1, 2)
                    images[start + here] = resize(stack, self.size)
        return images

    def _read_crop(self, path: Path) -> NDArray[np.uint8]:
        """The central square [side, side, 3]; ValueError for a broken file or another aspect."""
        try:
            image = simplejpeg.decode_jpeg(path.read_bytes(), "RGB")  # strict: a cut file raises
        except ValueError as error:
            raise ValueError(f"{path} is not a whole JPEG file: {error}") from None
        height, width = image.shape[:2]
        if abs(width / height * HEIGHT / WIDTH - 1) > ASPECT_TOLERANCE:
            raise ValueError(
                f"{path} is {width} x {height}; expected the aspect of {WIDTH} x {HEIGHT}, the "
                "aligned and cropped images"
            )
        return centre_crop(image, max(1, round(width * self.crop)))
