"""Copies: images that lie in more than one split. Held-out images must not be trained on.

Decoded images are compared by the digests of their pixels, so it does not matter whether the files
are equal, or in which format they are. The digests come with the shards; no file is read again.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Sequence

from genae_core.data.shards import Shard
from genae_core.data.storage import FileStat, Folder

REASON = "shows the same pixels as an image of the {} split"


def find_equal_files(
    folder: Folder, files: Sequence[FileStat], rows: Sequence[int], others: Sequence[FileStat]
) -> list[int]:
    """Find the rows whose files have the same bytes as one of other files.

    Only files of a size that occurs among both are read, and those that cannot be read are left to
    the preparation.

    Args:
        folder: The folder of all files.
        files: The files that `rows` counts.
        rows: The rows to look at.
        others: The other files.

    Returns:
        The rows, in their order.
    """
    sizes = {file.size for file in others} & {files[row].size for row in rows}
    digests = {_digest(folder, file) for file in others if file.size in sizes} - {None}
    return [
        row for row in rows if files[row].size in sizes and _digest(folder, files[row]) in digests
    ]


def _digest(folder: Folder, file: FileStat) -> bytes | None:
    """The digest of a file's bytes; None if it cannot be read."""
    with contextlib.suppress(OSError):
        return hashlib.sha256(folder.read(file.name)).digest()
    return None


def find_copies(shards: Sequence[Shard]) -> dict[str, dict[int, str]]:
    """Find the rows to leave out: train images that are in val or test, val images in test.

    Args:
        shards: The shards of all splits.

    Returns:
        For the file of each shard with such rows: the rows, and the reason of each.
    """
    split_of: dict[str, str] = {}  # of each digest that is held out
    copies: dict[str, dict[int, str]] = {}
    for split in ("test", "val", "train"):
        here = [shard for shard in shards if shard.split == split]
        for shard in here:
            rows = {
                row: REASON.format(split_of[digest])
                for row, digest in enumerate(shard.digests)
                if digest in split_of
            }
            if rows:
                copies[shard.file] = rows
        for shard in here:
            for digest in shard.digests:
                split_of.setdefault(digest, split)
    return copies


def check_splits_keep_images(
    dataset: str, shards: Sequence[Shard], copies: dict[str, dict[int, str]]
) -> None:
    """Raise ValueError if copies are all that a split has, beside unusable files."""
    for split in dict.fromkeys(shard.split for shard in shards):
        here = [shard for shard in shards if shard.split == split]
        rows_in = sum(shard.rows_in for shard in here)
        dropped = sum(len(shard.copies) + len(copies.get(shard.file, ())) for shard in here)
        unusable = sum(len(shard.rejected) for shard in here)
        if dropped and rows_in == dropped + unusable:
            raise ValueError(
                f"{dataset}: the {split} split has no image left: of {rows_in:,} files, "
                f"{unusable:,} are unusable and {dropped:,} show the same pixels as an image that "
                "is held out; add other images"
            )


def note_copies(dataset: str, shards: Iterable[Shard]) -> list[str]:
    """Notes on the copies that were left out, and on those within a split, which stay."""
    notes, outside, within = [], {"train": 0, "val": 0}, 0
    digests: dict[str, set[str]] = {}
    for shard in shards:
        outside[shard.split] = outside.get(shard.split, 0) + len(shard.copies)
        known = digests.setdefault(shard.split, set())
        before = len(known)
        known.update(shard.digests)
        within += len(shard.digests) - (len(known) - before)
    counted = [f"{count:,} {split}" for split, count in outside.items() if count]
    if counted:
        notes.append(
            f"{dataset}: {' and '.join(counted)} images are left out, because they show the same "
            "pixels as held-out images."
        )
    if within:
        notes.append(
            f"{dataset}: {within:,} images show the same pixels as another image of their split; "
            "they are kept."
        )
    return notes
