"""A folder of images, with or without a folder for each class and for each split."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genae_core.config import later_field, register, require, require_int
from genae_core.data.base import SPLITS, Source
from genae_core.data.copies import find_equal_files
from genae_core.data.file_source import FileSource, note_passed_over
from genae_core.data.folder_tree import (
    ARCHIVES,
    ENDINGS,
    Ignored,
    ImageTree,
    describe_classes,
    describe_ignored,
    list_names,
    read_tree,
    restrict,
    sort_out,
)
from genae_core.data.images import check_crop, check_size
from genae_core.data.names import escape_name
from genae_core.data.official_files import (
    check_flags,
    check_source,
    check_split_seed,
    draw_split_indices,
    stamp,
)
from genae_core.data.own_splits import FRACTION
from genae_core.data.storage import FileStat, Folder, Listing


@register("data.image_folder")
@dataclass(frozen=True, kw_only=True)
class ImageFolderConfig:
    """The images below a folder, in the splits that its folders name, or cut by a seed into 6/8
    train, 1/8 val and 1/8 test.

    Transparent pixels are laid on a white ground.

    Args:
        root: A path or a URI. If the folder holds train/ and val/ or test/ (also spelled
            training, valid, validation, dev or testing), these are the splits, and a missing one
            is cut from the training images. Below that, if every image lies in a subfolder, the
            topmost subfolder is the class of the image; if no image lies in a subfolder, or all
            lie in the same one, the images have no labels. A folder that only holds one other
            folder is passed through.
        size: The images are resized to size x size pixels: 28, or a multiple of 8.
        crop: The side of the central square that is used, as a fraction of the shorter side.
        split_seed: The seed of the cut and of the choice of `max_images`.
        max_images: The largest number of images; if there are more, they are chosen at random.
            None uses all.
        grey: Whether the images are read as grey values, with one channel, and not as RGB.

    Raises:
        ValueError: A field is out of range.
    """

    root: str
    size: int = 64
    crop: float = 1.0
    split_seed: int = 0
    max_images: int | None = None
    grey: bool = later_field(False)

    def __post_init__(self) -> None:
        check_source(self.root, False)
        check_size(self.size)
        check_crop(self.crop)
        check_flags(grey=self.grey)
        check_split_seed(self.split_seed)
        if self.max_images is not None:
            require_int(max_images=self.max_images)
            require(self.max_images >= 3, "max_images must be >= 3", max_images=self.max_images)

    @property
    def name(self) -> str:
        return "image_folder"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1 if self.grey else 3, self.size, self.size)

    @property
    def binarize(self) -> bool:
        return False

    def stamp(self) -> str:
        return self._listing().stamp

    def source(self) -> Source:
        listing = self._listing()
        names = np.array([file.name for file in listing.files])
        labels = np.array(listing.tree.labels, np.int64)
        parts, (note, *more) = self._split(listing)
        classes = listing.tree.classes
        notes = [
            f"{note}, {describe_classes(classes)}; transparent pixels are laid on a white ground.",
            *more,
        ]
        if listing.tree.wrapper:
            notes.append(
                f"image_folder: all images lie in {escape_name(listing.tree.wrapper)}, which is "
                f"read in place of {self.root}."
            )
        untrained = sorted({*labels.tolist()} - {*labels[parts["train"]].tolist()})
        if classes and untrained:
            notes.append(
                "image_folder: no training image is in "
                f"{list_names([classes[label] for label in untrained])}."
            )
        if listing.ignored:
            notes.append(f"image_folder: {describe_ignored(listing.ignored)}.")
        notes += note_passed_over("image_folder", listing.scan)
        return FileSource(
            folder=Folder(self.root),
            names={split: tuple(names[index].tolist()) for split, index in parts.items()},
            labels={split: labels[index] for split, index in parts.items()},
            stamp=listing.stamp,
            size=self.size,
            crop=self.crop,
            label_names=tuple(escape_name(name) for name in classes),
            notes=tuple(notes),
            grey=self.grey,
        )

    def _split(self, listing: "_ImageListing") -> tuple[dict[str, NDArray[np.int64]], list[str]]:
        """The indices of the images of each split, and notes, the first of which has no end."""
        tree = listing.tree
        total, seed = len(tree.labels), self.split_seed
        if "" in tree.splits:
            num_held_out = max(1, total // FRACTION)
            indices = draw_split_indices(total, num_held_out, num_held_out, seed)
            note = (
                f"image_folder: {total:,} images, cut by seed {seed} into "
                f"{total - 2 * num_held_out:,} train, {num_held_out:,} val and "
                f"{num_held_out:,} test images"
            )
            return dict(zip(SPLITS, indices, strict=True)), [note]
        parts = {split: np.array(index, np.int64) for split, index in tree.splits.items()}
        counts = [
            f"{len(index):,} in {escape_name(tree.split_folders[split])}"
            for split, index in parts.items()
        ]
        note = f"image_folder: {total:,} images, in the splits of the folder: {', '.join(counts)}"
        missing = [split for split in SPLITS if split not in parts]
        if not missing:
            return parts, [note]
        cut = self._cut_missing(listing, parts, missing[0])
        cut_note = (
            f"image_folder: the folder has no {missing[0]} split, so {len(cut[missing[0]]):,} of "
            f"the training images are cut by seed {seed} for it."
        )
        return {split: (parts | cut)[split] for split in SPLITS}, [note, cut_note]

    def _cut_missing(
        self, listing: "_ImageListing", parts: dict[str, NDArray[np.int64]], missing: str
    ) -> dict[str, NDArray[np.int64]]:
        """Cut the missing split from the training images. Return the indices of both.

        Copies of held-out images stay behind: they are left out later, and the split would end
        smaller.
        """
        (held_out,) = (index.tolist() for split, index in parts.items() if split != "train")
        files = listing.files
        copies = find_equal_files(
            Folder(self.root), files, parts["train"].tolist(), [files[row] for row in held_out]
        )
        is_copy = np.isin(parts["train"], copies)
        candidates = parts["train"][~is_copy]
        num_cut = max(1, len(candidates) // FRACTION)
        if len(candidates) <= num_cut:
            raise ValueError(
                f"image_folder: {listing.tree.split_folders['train']} has {len(candidates)} "
                f"images that are not held out as well, too few to cut {missing} from them; add "
                f"images, or add a folder {missing}"
            )
        kept, cut, _ = draw_split_indices(len(candidates), num_cut, 0, self.split_seed)
        train = np.sort(np.concatenate([candidates[kept], parts["train"][is_copy]]))
        return {"train": train, missing: candidates[cut]}

    def _listing(self) -> "_ImageListing":
        """List the images, at most `max_images`. Raises ValueError for fewer than three."""
        folder = Folder(self.root)
        if not folder.exists():
            raise ValueError(f"image_folder: there is no folder {folder.uri}")
        if folder.local is not None and not folder.local.is_dir():
            raise ValueError(
                f"image_folder: {folder.uri} is a file and no folder; if it is an archive, unpack "
                "it first"
            )
        scan = folder.scan()
        _check_readable(folder, scan)
        images, ignored = sort_out([*(file.name for file in scan.files), *scan.hidden])
        files = [scan.files[index] for index in images]
        tree = read_tree([file.name for file in files], folder.uri)
        if self.max_images is not None and len(files) > self.max_images:
            chosen = self._choose(tree, self.max_images)
            files = [files[row] for row in chosen]
            tree = restrict(tree, chosen.tolist())
        if len(files) < 3:
            raise ValueError(
                f"image_folder: three splits need at least 3 images, got {len(files)} below "
                f"{folder.uri} ({', '.join(ENDINGS)}){_explain_few(ignored)}"
            )
        content = stamp(files)
        if not tree.is_plain:  # Earlier versions took these splits and wrappers for classes.
            content = hashlib.sha256(f"{content} splits and wrappers".encode()).hexdigest()
        return _ImageListing(files, tree, ignored, content, scan)

    def _choose(self, tree: ImageTree, count: int) -> NDArray[np.int64]:
        """Choose images at random; as large a fraction of each split as of all images."""
        rng = np.random.default_rng(self.split_seed)
        total = len(tree.labels)
        chosen = []
        for index in tree.splits.values():
            order = rng.permutation(len(index))
            share = count if len(index) == total else max(1, count * len(index) // total)
            chosen.append(np.array(index, np.int64)[np.sort(order[:share])])
        return np.sort(np.concatenate(chosen))


class _ImageListing(NamedTuple):
    """The images, what their folders mean, the files that are passed over, the stamp of the
    images, and all that lies in the folder."""

    files: list[FileStat]
    tree: ImageTree
    ignored: list[Ignored]
    stamp: str
    scan: Listing


def _check_readable(folder: Folder, scan: Listing) -> None:
    """Raise OSError if a folder cannot be listed: a whole class might lie in it."""
    if scan.unreadable:
        name, reason = scan.unreadable[0]
        others = len(scan.unreadable) - 1
        more = f" (nor can {others:,} others)" if others else ""
        raise PermissionError(
            f"{folder.path_of(escape_name(name))} {reason}{more}; allow it to be read, or move it "
            "away"
        )


def _explain_few(ignored: Sequence[Ignored]) -> str:
    """What lies in a folder that has hardly any images, and what to do."""
    if not ignored:
        return ""
    packed = [name for group in ignored for name in group.names if name.lower().endswith(ARCHIVES)]
    hint = f"; unpack {list_names(packed, 3)} first" if packed else ""
    return f"; {describe_ignored(ignored)}{hint}"
