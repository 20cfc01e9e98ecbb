"""load_splits(): open a dataset's shards, and prepare them first if they do not exist yet."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genae_core import config
from genae_core.data.base import DataConfig, Source, Splits
from genae_core.data.parts import PartMapper, map_here
from genae_core.data.preparation import MAX_REJECTED, prepare
from genae_core.data.shard_images import open_shards
from genae_core.data.shards import Shard, ShardSpec, read_manifest
from genae_core.data.storage import Folder


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a dataset's shards are found, made and read.

    Args:
        shards: A folder or URI that `prepare` made. None looks below `home`, and a change of the
            files or of their preprocessing leads to other shards there.
        max_rejected: The share of the files, in [0, 1], that may be unusable.
        budget: Bytes of memory for the training images; more are streamed. None: no limit.
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
    """Open a dataset's splits, and make their shards first if they do not exist yet.

    Args:
        data: The dataset's config.
        home: The folder below which shards and this node's copies are kept.
        options: Where the shards are, and the limits; None takes the defaults.
        mapper: Makes missing shards, here or on a cluster.
        say: Prints a message before a long preparation.

    Returns:
        The splits; training images beyond the budget are streamed.

    Raises:
        ValueError: If the files are wrong as a whole, too many are unusable, or the shards are
            malformed or belong to another dataset or shape.
        OSError: If a disk or a store fails.
    """
    options = options or LoadOptions()
    if options.shards is not None:
        folder = Folder(options.shards)
        _check_dataset(data, folder)
    else:
        key = json.dumps([config.identity(data), data.stamp()], sort_keys=True)
        name = f"{data.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        folder = Folder(home / "shards" / name)

        def on_plan(source: Source, todo: list[ShardSpec], done: list[Shard]) -> None:
            rows = sum(source.counts.values())
            ready = f", {len(done)} of which are finished" if done else ""
            say(
                f"preparing {data.name}, once: {rows:,} images in {len(todo) + len(done)} "
                f"shards{ready} ..."
            )

        prepare(
            data,
            folder,
            max_rejected=options.max_rejected,
            mapper=mapper,
            on_plan=on_plan,
        )
    return open_shards(folder, home / "cache", options.budget, options.readers)


def _check_dataset(data: DataConfig, folder: Folder) -> None:
    """Raise ValueError unless the shards hold this dataset in this shape."""
    manifest = read_manifest(folder)
    if (manifest.dataset, manifest.shape) != (data.name, data.shape):
        raise ValueError(
            f"{folder.uri} holds {manifest.dataset} of shape {manifest.shape}, but "
            f"{data.name} of shape {data.shape} is required"
        )
