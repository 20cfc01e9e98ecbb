"""prepare() decodes the files of a dataset into shards. If it is stopped, a later call
continues."""

import contextlib
import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from genae_core import config
from genae_core.config import require
from genae_core.config.differences import first_difference
from genae_core.config.make_once import make_alone
from genae_core.config.messages import print_warning
from genae_core.data import durable, sealed
from genae_core.data.base import SPLITS, DataConfig, Rejected, Source
from genae_core.data.copies import check_splits_keep_images, find_copies, note_copies
from genae_core.data.encoded_rows import UNREADABLE
from genae_core.data.limits import MAX_REJECTED
from genae_core.data.parts import PartMapper, map_here
from genae_core.data.shards import (
    MANIFEST,
    WHERE,
    Manifest,
    Shard,
    ShardSpec,
    drop_rows,
    find_manifest,
    group_rows,
    manifest_of,
    plan,
    preprocessing_of,
    read_digests,
    read_manifest,
    write_shard,
)
from genae_core.data.storage import Folder

PLAN, REJECTED = "_plan.json", "_rejected.csv"
FORMER_PLAN, FORMER_REJECTED = "plan.json", "rejected.csv"  # the names up to version 0.1


class PreparationPlan(NamedTuple):
    """The description that all shards of a preparation share. It is sent to every worker.

    Attributes:
        source: The list of the files.
        folder: The folder that the shards are written to.
        shape: (C, H, W) of a decoded image.
    """

    source: Source
    folder: Folder
    shape: tuple[int, int, int]


class FinishedShard(NamedTuple):
    """A new shard, and the seconds that each stage of its making took."""

    shard: Shard
    seconds: dict[str, float]


def prepare(
    data: DataConfig,
    out: Folder,
    max_rejected: float = MAX_REJECTED,
    mapper: PartMapper = map_here,
    on_plan: Callable[[Source, list[ShardSpec], list[Shard]], None] = lambda *_: None,
    on_shard: Callable[[FinishedShard], None] = lambda _: None,
) -> Manifest:
    """Decode a dataset into shards at `out`, or continue a preparation that was stopped.

    The shards are written to `out`.partial, which is renamed at the end. If `out` exists, as a
    mounted disk and a link do, and on an object store, they are written to `out` itself, and the
    manifest last. After an error, the finished shards stay, and the same call continues.

    Args:
        data: The dataset's config.
        out: The folder of the shards; it must hold nothing else.
        max_rejected: The fraction of the files, in [0, 1], that may be unusable. The unusable
            files are listed in _rejected.csv.
        mapper: Makes the shards, here or on a cluster.
        on_plan: Is called once, with the source, the shards to make, and the shards that an
            earlier call made.
        on_shard: Is called with each new shard.

    Returns:
        The manifest of the shards.

    Raises:
        ValueError: The files are wrong as a whole; too many are unusable; or `out` holds anything
            else.
        OSError: A disk or a store fails.
    """
    require(0 <= max_rejected <= 1, "max_rejected must be in [0, 1]", max_rejected=max_rejected)
    with _alone(out):
        manifest = _read_finished(data, out)
        if manifest is not None:
            with contextlib.suppress(OSError):  # a finished dataset may be read-only
                _remove_receipts(manifest, out)
            return manifest
        partial = _workplace(out)
        manifest = _read_finished(data, partial)
        if manifest is not None:  # a call was stopped while it published the shards
            return _publish(manifest, partial, out)
        source = data.source()
        todo, done = _divide(data, source, partial)
        on_plan(source, todo, done)
        _check_rejected(source, done, max_rejected, partial)
        job = PreparationPlan(source, partial, data.shape)
        for finished in mapper(_make_shard, job, todo) if todo else ():
            done.append(finished.shard)
            on_shard(finished)
            _check_rejected(source, done, max_rejected, partial)
        done = _drop_copies(data, done, partial)
        notes = (*source.notes, *note_copies(data.name, done))
        manifest = manifest_of(data, source, done)._replace(notes=notes)
        _list_rejected(source, manifest.shards, partial)
        _check_splits(manifest, partial)
        partial.write(MANIFEST, manifest.to_json().encode())
        return _publish(manifest, partial, out)


def rejected_list(out: Folder) -> str:
    """The path of a preparation's list of unusable files.

    Args:
        out: The folder of the shards. A folder of version 0.1 has the list by another name.
    """
    return out.path_of(FORMER_REJECTED if out.exists(FORMER_REJECTED) else REJECTED)


def _read_finished(data: DataConfig, folder: Folder) -> Manifest | None:
    """The manifest of finished shards. Raises ValueError if they are of other data."""
    if find_manifest(folder) is None:
        return None
    manifest = read_manifest(folder)
    _check_manifest(data, manifest, folder)
    return manifest


def _divide(
    data: DataConfig, source: Source, partial: Folder
) -> tuple[list[ShardSpec], list[Shard]]:
    """The shards to make, and the shards that an earlier call has finished.

    Raises ValueError if the folder holds another plan, and OSError if the disk has no room.
    """
    specs = plan(source, data.shape)
    _write_plan(data, source, specs, partial)
    done = []
    for spec in specs:
        shard = _load_finished(partial, spec)
        if shard is not None:
            done.append(shard)
    done_files = {shard.file for shard in done}
    todo = [spec for spec in specs if spec.file not in done_files]
    _check_space(todo, data, partial)
    return todo, done


def _make_shard(job: PreparationPlan, spec: ShardSpec) -> FinishedShard:
    """Write a shard, and then the receipt that it is finished."""
    shard, seconds = write_shard(job.source, spec, job.folder, job.shape)
    _write_receipt(job.folder, shard)
    return FinishedShard(shard, seconds)


def _drop_copies(data: DataConfig, shards: list[Shard], partial: Folder) -> list[Shard]:
    """Leave out the images that are held out as well. Raises ValueError if a split ends empty.

    Only the shards with such images are written again. A call that is stopped in between can be
    repeated.
    """
    copies = find_copies(shards)
    check_splits_keep_images(data.name, shards, copies)
    kept = []
    for shard in shards:
        if shard.file in copies:
            shard = drop_rows(shard, partial, copies[shard.file], group_rows(data.shape))
            _write_receipt(partial, shard)
        kept.append(shard)
    return kept


def _write_receipt(partial: Folder, shard: Shard) -> None:
    """Write the receipt of a shard."""
    partial.write(_receipt_name(shard.file), sealed.to_text(shard._asdict()).encode())


def _receipt_name(file: str) -> str:
    """The name of a shard's receipt, the file that marks the shard as finished."""
    return f"_{file}.json"


def _former_receipt_name(file: str) -> str:
    """The name of a receipt up to version 0.1."""
    return f"{file}.json"


def _load_finished(partial: Folder, spec: ShardSpec) -> Shard | None:
    """The shard, if an earlier call finished it and its bytes have not changed since.

    A shard that lacks files which could not be read is made again, since the permissions may have
    been repaired or a disk may answer again.
    """
    names = (_receipt_name(spec.file), _former_receipt_name(spec.file))
    receipt = next((name for name in names if partial.exists(name)), None)
    if receipt is None or not partial.exists(spec.file):
        return None
    try:
        values = sealed.from_text(partial.read(receipt), partial.path_of(receipt))
        if any(reason.startswith(UNREADABLE) for _, reason in values["rejected"]):
            return None
        for name in ("rejected", "copies"):
            values[name] = tuple(Rejected(*pair) for pair in values.get(name, ()))
        shard = Shard(**{**values, "digests": tuple(values.get("digests", ()))})
        rows = spec.last - spec.first
        is_of_spec = (shard.file, shard.split, shard.rows_in) == (spec.file, spec.split, rows)
        require(is_of_spec, f"{receipt} is not of this shard", file=shard.file)
        digest = partial.sha256(spec.file)
        require(digest == shard.sha256, f"its sha256 must be {shard.sha256}", sha256=digest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        print_warning(f"{partial.path_of(spec.file)} is made again: {error}")
        return None
    if "digests" not in values:  # An earlier version made the shard.
        shard = shard._replace(digests=read_digests(shard, partial))
    return shard


def _publish(manifest: Manifest, partial: Folder, out: Folder) -> Manifest:
    """Rename the partial folder to its final name, and forget how its shards were made. Returns
    the manifest, which is written already.

    The receipts go last: until the dataset is finished, they tell the next call what there is.
    """
    partial.delete_unfinished()
    if partial.uri != out.uri:
        assert partial.local is not None and out.local is not None
        durable.publish(partial.local, out.local)
    _remove_receipts(manifest, out)
    return manifest


def _remove_receipts(manifest: Manifest, out: Folder) -> None:
    """Delete what only an unfinished preparation needs, if it is still there."""
    name = _find_plan(out)
    if name is not None:
        for shard in manifest.shards:
            out.delete(_receipt_name(shard.file))
            out.delete(_former_receipt_name(shard.file))
        out.delete(FORMER_REJECTED)
        out.delete(name)


def _find_plan(folder: Folder) -> str | None:
    """The name of the plan of an unfinished preparation; None if the folder has none."""
    return next((name for name in (PLAN, FORMER_PLAN) if folder.exists(name)), None)


def _workplace(out: Folder) -> Folder:
    """The folder in which the shards are made.

    Nothing can be renamed to a folder that is a mounted disk, a link or the current folder, and
    its mode and owner would be lost. So the shards are made inside of a folder that exists.

    Raises ValueError if the shards could not be written, before anything is decoded.
    """
    if out.local is None:
        return out
    out.check_writable()
    partial = Folder(f"{out.uri}.partial")
    if not out.exists():
        return partial
    _check_free(out)
    name = _find_plan(partial)
    if name is not None:  # version 0.1 made it, or `out` was made in the meantime
        _move(partial, out, name)
    return out


def _move(partial: Folder, out: Folder, plan_name: str) -> None:
    """Move an unfinished preparation into `out`, unless `out` holds another one.

    If this is stopped, the next call goes on with it, since both folders have the plan.
    """
    assert partial.local is not None and out.local is not None
    plan_text = partial.read(plan_name)
    other = _find_plan(out)
    if other is not None and out.read(other) != plan_text:
        return
    out.write(plan_name, plan_text)
    for file in partial.files():
        if file.name != plan_name:
            shutil.move(partial.local / file.name, out.local / file.name)
    durable.sync(out.local)
    partial.delete()


def _check_manifest(data: DataConfig, manifest: Manifest, out: Folder) -> None:
    """Raise ValueError if the manifest of `out` belongs to other data or another config."""
    wanted = preprocessing_of(data)
    if (manifest.dataset, config.canonicalize(manifest.preprocessing)) != (data.name, wanted):
        raise ValueError(
            f"{out.uri} holds {manifest.dataset} prepared as {manifest.preprocessing}, not as "
            f"{wanted}; choose another folder"
        )


def _check_free(out: Folder) -> None:
    """Raise ValueError if `out` is a folder on a disk that holds anything else than shards.

    A disk has folders of its own, whose names begin with a dot or are lost+found.
    """
    assert out.local is not None
    names = {path.name for path in out.local.iterdir()} - {"lost+found"}
    if _find_plan(out) is None and any(not name.startswith(".") for name in names):
        raise ValueError(
            f"{out.uri} exists and is no finished dataset (it has no {MANIFEST}); choose "
            "another folder"
        )


def _write_plan(data: DataConfig, source: Source, specs: list[ShardSpec], partial: Folder) -> None:
    """Write the plan. Raises ValueError if the folder holds another plan.

    The plan does not depend on where the files are, because `source.stamp` identifies them.
    Without a readable plan nobody knows what the finished shards are of, so all are made again.
    """
    values = {"data": config.to_dict(data), "files": source.stamp, "shards": specs}
    name = _find_plan(partial)
    before = None if name is None else _read_plan(partial, name)
    if before is None:
        for receipt in partial.files(".parquet.json"):
            partial.delete(receipt.name)
        partial.write(PLAN, sealed.to_text(values).encode())
        return
    now = json.loads(json.dumps(values))
    for plan_values in (before, now):
        for field in WHERE:
            plan_values["data"].pop(field, None)
    difference = first_difference(before, now)
    if difference is not None:
        raise ValueError(
            f"{partial.uri} holds the unfinished shards of other files or settings (see {name}): "
            f"{difference}; delete the folder, or choose another one"
        )


def _read_plan(partial: Folder, name: str) -> dict[str, Any] | None:
    """The plan of the finished shards; None, with a warning, if it is damaged."""
    try:
        stored = sealed.from_text(partial.read(name), partial.path_of(name))
        require(isinstance(stored.get("data"), dict), f"{partial.path_of(name)} is damaged")
    except ValueError as error:
        print_warning(f"all shards are made again: {error}")
        return None
    canonical: dict[str, Any] = config.canonicalize(stored)
    return canonical


def _check_space(specs: list[ShardSpec], data: DataConfig, partial: Folder) -> None:
    """Raise OSError if the disk has no room for the shards that are still to be written."""
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
    """List the unusable files and raise ValueError, if they are too many."""
    total = sum(source.counts.values()) + len(source.rejected)
    rejected = len(source.rejected) + sum(len(shard.rejected) for shard in shards)
    if rejected > max_rejected * total:
        _list_rejected(source, shards, partial)
        first = next(iter((*source.rejected, *(row for s in shards for row in s.rejected))))
        raise ValueError(
            f"{rejected:,} of {total:,} files are unusable so far, more than --max-rejected "
            f"{max_rejected:g} allows, such as {first.name} ({first.reason}); they are listed "
            f"with their reasons in {partial.path_of(REJECTED)}. The finished shards are kept: "
            "repair the files and start again, or pass a higher --max-rejected to continue "
            "without them"
        )


def _check_splits(manifest: Manifest, partial: Folder) -> None:
    """Raise ValueError if a split has no usable image."""
    empty = [split for split in SPLITS if not manifest.rows(split)]
    if empty:
        raise ValueError(
            f"no file of the split {' and '.join(empty)} is usable; the files are listed with "
            f"their reasons in {partial.path_of(REJECTED)}: repair them, and start again"
        )


def _list_rejected(source: Source, shards: Sequence[Shard], partial: Folder) -> None:
    """Write _rejected.csv, with the name and the reason of each file that is unusable or a copy,
    sorted by name."""
    rejected = list(source.rejected)
    for shard in shards:
        rejected += (*shard.rejected, *shard.copies)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Rejected._fields)
    writer.writerows([_cell(value) for value in row] for row in sorted(rejected))
    partial.write(REJECTED, text.getvalue().encode())


def _cell(text: str) -> str:
    """The text of a table's cell, such that no spreadsheet runs it as a formula.

    A text that begins like a formula, or with an apostrophe, gets an apostrophe in front; without
    its first apostrophe, such a cell is the text.
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "'")) else text


def _alone(out: Folder) -> contextlib.AbstractContextManager[None]:
    """Let one call at a time work on a disk. A second call waits until the first one ends."""
    if out.local is None:
        return contextlib.nullcontext()
    if out.local.is_dir() and not os.access(out.local.parent, os.W_OK):
        return make_alone(out.local / "shards")  # a disk is mounted where nobody may write
    Folder(out.local.parent).check_writable()
    return make_alone(out.local)
