"""load_splits() opens the shards of a dataset. It makes the shards first if there are none."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genae_core import config
from genae_core.config.places import local_path
from genae_core.config.redaction import redact_values
from genae_core.data.base import DataConfig, Source, Splits
from genae_core.data.parts import PartMapper, map_here
from genae_core.data.preparation import MAX_REJECTED, prepare
from genae_core.data.shard_images import open_shards
from genae_core.data.shards import Shard, ShardSpec, read_manifest
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
        _check_dataset(data, folder)
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
