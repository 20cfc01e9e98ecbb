"""load_splits(): a dataset's splits, prepared first where they are not there yet."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from genae_core import config
from genae_core.data.base import DataConfig, Source, Splits
from genae_core.data.preparation import MAX_REJECTED, Each, one_by_one, prepare
from genae_core.data.shard_images import open_shards
from genae_core.data.shards import Shard, ShardSpec, read_manifest
from genae_core.data.storage import Folder


def load_splits(
    data: DataConfig,
    home: Path,
    shards: str | None = None,
    max_rejected: float = MAX_REJECTED,
    budget: int | None = None,
    readers: int = 1,
    each: Each = one_by_one,
    say: Callable[[str], None] = print,
) -> Splits:
    """The dataset's splits, from shards that are there, or are made now under `home`.

    shards: a folder or URI that `prepare` made; None looks under `home`, where a change of the
    files or of how they are prepared makes others. budget, readers: as in `open_shards`. say: is
    told what takes time.
    Raises ValueError and OSError as `prepare` and `open_shards` do, and ValueError for shards of
    another dataset or shape.
    """
    if shards is not None:
        folder = Folder(shards)
        found = read_manifest(folder)
        if (found.dataset, found.shape) != (data.name, data.shape):
            raise ValueError(
                f"{folder.uri} holds {found.dataset} of shape {found.shape}, but "
                f"{data.name} of shape {data.shape} is asked for"
            )
    else:
        key = json.dumps([config.identity(data), data.stamp()], sort_keys=True)
        name = f"{data.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        folder = Folder(home / "shards" / name)

        def on_plan(source: Source, todo: list[ShardSpec], done: list[Shard]) -> None:
            rows = sum(source.counts.values())
            ready = f", {len(done)} of them done before" if done else ""
            say(
                f"preparing {data.name}, once: {rows:,} images in {len(todo) + len(done)} "
                f"shards{ready} ..."
            )

        prepare(data, folder, max_rejected, each, on_plan)
    return open_shards(folder, home / "cache", budget, readers)
