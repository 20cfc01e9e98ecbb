"""load_splits() opens the shards of a dataset. It makes the shards first if there are none."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genae_core import config
from genae_core.config.places import local_path
from genae_core.config.progress import ProgressDisplay
from genae_core.config.redaction import redact_values
from genae_core.data.base import DataConfig, Source, Splits
from genae_core.data.limits import MAX_REJECTED
from genae_core.data.parts import PartMapper, map_here
from genae_core.data.preparation import prepare
from genae_core.data.shard_images import open_shards
from genae_core.data.shards import Manifest, Shard, ShardSpec, digest_pixels, read_manifest
from genae_core.data.storage import Folder


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How the shards of a dataset are made and read.

    Args:
        shards: A folder or URI with shards that `prepare` made. With None, the shards lie below
            `home`; if the files or their preprocessing change, there are other shards.
        max_rejected: The fraction of the files, in [0, 1], that may be unusable.
        budget: The bytes of memory for the training images; larger ones are streamed. None sets no
            limit.
        readers: The number of processes that stream at the same time and share the budget.
    """

    shards: str | None = None
    max_rejected: float = MAX_REJECTED
    budget: int | None = None
    readers: int = 1


def load_splits(
    data: DataConfig,
    home: Path,
    options: LoadOptions | None = None,
    mapper: PartMapper = map_here,
    say: Callable[[str], None] = print,
) -> Splits:
    """Open the splits of a dataset. Make the shards first if there are none.

    Args:
        data: The dataset's config.
        home: The folder below which the shards and this node's copies of them lie.
        options: Where the shards are, and the limits; None takes the defaults.
        mapper: Makes missing shards, here or on a cluster.
        say: Prints a message before a long preparation.

    Returns:
        The splits. Training images that are larger than the budget are streamed.

    Raises:
        ValueError: The files are wrong as a whole; too many are unusable; or the shards are
            malformed or of another dataset or shape.
        OSError: A disk or a store fails.
    """
    options = options or LoadOptions()
    home = local_path(home, "home")
    if options.shards is not None:
        folder = Folder(options.shards)
        manifest = _read_manifest_of(data, folder)
    else:
        # A password says nothing about the images.
        about = redact_values(config.identity(data))
        key = json.dumps([about, data.stamp()], sort_keys=True)
        name = f"{data.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        folder = Folder(home / "shards" / name)

        def on_plan(source: Source, todo: list[ShardSpec], done: list[Shard]) -> None:
            rows = sum(source.counts.values())
            ready = f", {len(done)} of which are finished" if done else ""
            say(
                f"preparing {data.name}, once: {rows:,} images in {len(todo) + len(done)} "
                f"shards{ready} ..."
            )
            progress.begin(rows, sum(shard.rows_in for shard in done))

        with ProgressDisplay(f"preparing {data.name}", unit="images") as progress:
            manifest = prepare(
                data,
                folder,
                max_rejected=options.max_rejected,
                mapper=mapper,
                on_plan=on_plan,
                on_shard=lambda finished: progress.update(finished.shard.rows_in),
            )
    splits = open_shards(folder, home / "cache", options.budget, options.readers)
    if manifest.copies is not None:
        return splits
    return splits._replace(notes=(*splits.notes, *_note_old_copies(splits, folder)))


def _note_old_copies(splits: Splits, folder: Folder) -> list[str]:
    """A list with the note that shards of an earlier version train on held-out images."""
    if not isinstance(splits.train.images, np.ndarray):
        return []  # Streamed images would have to be read an additional time.
    held_out = {
        digest_pixels(image) for split in (splits.val, splits.test) for image in split.images[:]
    }
    count = sum(digest_pixels(image) in held_out for image in splits.train.images)
    note = (
        f"{count:,} training images in {folder.uri} show the same pixels as held-out images. An "
        "earlier version prepared them; this one leaves such images out: delete the folder, or "
        "prepare the data again"
    )
    return [note] if count else []


def _read_manifest_of(data: DataConfig, folder: Folder) -> Manifest:
    """The manifest. Raises ValueError unless the shards hold this dataset in this shape."""
    manifest = read_manifest(folder)
    if (manifest.dataset, manifest.shape) != (data.name, data.shape):
        raise ValueError(
            f"{folder.uri} holds {manifest.dataset} of shape {manifest.shape}, but "
            f"{data.name} of shape {data.shape} is required; --dataset, --size and --grey must be "
            "those of the preparation"
        )
    return manifest
