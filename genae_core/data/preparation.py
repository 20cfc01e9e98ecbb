"""prepare(): a dataset's files to shards, once; what was finished survives whatever stops it."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from genae_core import config
from genae_core.config import require
from genae_core.data.base import DataConfig, Rejected, Source
from genae_core.data.shards import (
    MANIFEST,
    Manifest,
    Shard,
    ShardSpec,
    manifest_of,
    plan,
    preprocessing_of,
    read_manifest,
    write_shard,
)
from genae_core.data.storage import Folder

PLAN = "plan.json"
REJECTED = "rejected.csv"
MAX_REJECTED = 0.001


class Job(NamedTuple):
    """What every worker is told."""

    source: Source
    folder: Folder
    shape: tuple[int, int, int]


class Done(NamedTuple):
    """A shard that is there now, and the seconds that its making took, by stage."""

    shard: Shard
    seconds: dict[str, float]


Work = Callable[[Job, ShardSpec], Done]
# Calls work(job, spec) for every spec, somewhere, and yields the results as they come.
Each = Callable[[Work, Job, Sequence[ShardSpec]], Iterator[Done]]


def one_by_one(work: Work, job: Job, specs: Sequence[ShardSpec]) -> Iterator[Done]:
    """The shards made in this process."""
    return (work(job, spec) for spec in specs)


def prepare(
    data: DataConfig,
    out: Folder,
    max_rejected: float = MAX_REJECTED,
    each: Each = one_by_one,
    on_plan: Callable[[Source, list[ShardSpec], list[Shard]], None] = lambda *_: None,
    on_shard: Callable[[Done], None] = lambda _: None,
) -> Manifest:
    """Decode a dataset into shards at `out`, or go on with an unfinished one; its manifest.

    On a disk the shards grow in `out`.partial and are published by one rename; on an object store
    the manifest is uploaded last. max_rejected: the share of the files, in [0, 1], that may be
    unusable; these are listed in rejected.csv. on_plan: sees the shards to make and those that an
    earlier call has made. on_shard: sees each as it is made.
    Raises ValueError for files that are wrong as a whole, for too many unusable ones, and where
    `out` holds something else; OSError where a disk or a store fails. Both lose nothing: the
    same call goes on.
    """
    require(0 <= max_rejected <= 1, "max_rejected must be in [0, 1]", max_rejected=max_rejected)
    with _alone(out):
        if out.exists(MANIFEST):
            return _same(data, read_manifest(out), out)
        _check_free(out)
        source = data.source()
        specs = plan(source, data.shape)
        partial = out if out.local is None else Folder(f"{out.uri}.partial")
        _claim(data, source, specs, partial)
        done = [shard for spec in specs if (shard := _finished(partial, spec))]
        made = {shard.file for shard in done}
        todo = [spec for spec in specs if spec.file not in made]
        _check_space(todo, data, partial)
        on_plan(source, todo, done)
        _check_rejected(source, done, max_rejected, partial)
        for result in each(_make, Job(source, partial, data.shape), todo) if todo else ():
            done.append(result.shard)
            on_shard(result)
            _check_rejected(source, done, max_rejected, partial)
        manifest = manifest_of(data, source, done)
        _list_rejected(source, manifest.shards, partial)
        _publish(manifest, partial, out)
        return manifest


def _make(job: Job, spec: ShardSpec) -> Done:
    shard, seconds = write_shard(job.source, spec, job.folder, job.shape)
    job.folder.write(_receipt(spec.file), json.dumps(shard._asdict()).encode())
    return Done(shard, seconds)


def _receipt(file: str) -> str:
    """The file that says that a shard is finished."""
    return f"{file}.json"


def _finished(partial: Folder, spec: ShardSpec) -> Shard | None:
    """The shard if an earlier call has finished it and its bytes are still those."""
    if not (partial.exists(_receipt(spec.file)) and partial.exists(spec.file)):
        return None
    about = json.loads(partial.read(_receipt(spec.file)))
    rejected = tuple(Rejected(*pair) for pair in about.pop("rejected"))
    shard = Shard(**about, rejected=rejected)
    return shard if partial.sha256(spec.file) == shard.sha256 else None


def _publish(manifest: Manifest, partial: Folder, out: Folder) -> None:
    for shard in manifest.shards:
        partial.delete(_receipt(shard.file))
    partial.delete(PLAN)
    partial.write(MANIFEST, manifest.to_json().encode())
    if out.local is not None:
        partial.delete_unfinished()
        with contextlib.suppress(FileNotFoundError):
            out.local.rmdir()  # an empty folder that the user made
        os.rename(partial.uri, out.uri)


def _same(data: DataConfig, found: Manifest, out: Folder) -> Manifest:
    """The manifest that is there, if it is of this dataset prepared in this way."""
    wanted = preprocessing_of(data)
    if (found.dataset, config.canonical(found.preprocessing)) != (data.name, wanted):
        raise ValueError(
            f"{out.uri} holds {found.dataset} prepared as {found.preprocessing}, not as {wanted}; "
            "choose another folder"
        )
    return found


def _check_free(out: Folder) -> None:
    if out.local is not None and out.local.exists() and any(out.local.iterdir()):
        raise ValueError(
            f"{out.uri} exists, and is no finished dataset (it has no {MANIFEST}): choose "
            "another folder"
        )


def _claim(data: DataConfig, source: Source, specs: list[ShardSpec], partial: Folder) -> None:
    """Write the plan, or find the same one."""
    job = {"data": config.to_dict(data), "files": source.stamp, "shards": specs}
    text = json.dumps(job, indent=1)
    if not partial.exists(PLAN):
        partial.write(PLAN, text.encode())
    elif config.canonical(json.loads(partial.read(PLAN))) != json.loads(text):
        raise ValueError(
            f"{partial.uri} holds the unfinished shards of other files or settings "
            f"(see {PLAN}); delete it, or choose another folder"
        )


def _check_space(specs: list[ShardSpec], data: DataConfig, partial: Folder) -> None:
    """Raise OSError where the disk cannot hold what is still to be written."""
    needed = sum(spec.last - spec.first for spec in specs) * int(np.prod(data.shape))
    free = partial.free_bytes()
    if free is not None and free < needed:
        raise OSError(
            f"{partial.uri}: the shards need about {needed / 1e6:,.0f} MB and the disk has "
            f"{free / 1e6:,.0f} MB left"
        )


def _check_rejected(
    source: Source, shards: list[Shard], max_rejected: float, partial: Folder
) -> None:
    total = sum(source.counts.values()) + len(source.rejected)
    rejected = len(source.rejected) + sum(len(shard.rejected) for shard in shards)
    if rejected > max_rejected * total:
        _list_rejected(source, shards, partial)
        raise ValueError(
            f"{rejected:,} of {total:,} files are unusable so far, more than --max-rejected "
            f"{max_rejected:g} allows; they are listed with their reasons in "
            f"{partial.path_of(REJECTED)}. What is finished is kept: repair the files and start "
            "anew, or give a higher --max-rejected to go on without them"
        )


def _list_rejected(source: Source, shards: Sequence[Shard], partial: Folder) -> None:
    """Write rejected.csv: file, reason; in the order of the names."""
    rejected = [*source.rejected, *(each for shard in shards for each in shard.rejected)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Rejected._fields)
    writer.writerows(sorted(rejected))
    partial.write(REJECTED, text.getvalue().encode())


@contextlib.contextmanager
def _alone(out: Folder) -> Iterator[None]:
    """One call at a time on a disk; a second waits, and then finds the dataset finished."""
    if out.local is None:
        yield
        return
    lock: Any = Path(out.uri).with_name(f".{Path(out.uri).name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        yield
