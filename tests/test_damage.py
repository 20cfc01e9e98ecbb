"""A stored file that has changed is passed over, made again, or named: never used without a word.

Every file that a small run leaves is damaged in many ways, and then read as genae reads it.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.resealing import unsealed

from genae_core.data import sealed
from genae_core.data.base import Splits, fingerprint
from genae_core.data.digits import DigitsConfig
from genae_core.data.preparation import PLAN, REJECTED, prepare
from genae_core.data.shard_images import open_shards
from genae_core.data.storage import Folder
from genae_core.evaluation.chain_parts import read_portable_chain
from genae_core.evaluation.generate import MANIFEST, draw_samples, sampling_job
from genae_core.experiment.trial import replica_of
from genae_core.metrics.classifier_cache import cached_classifier, load_classifier
from genae_core.report.explorer.gather import parse_curves
from genae_core.sweep.sweep_folder import note_stopped, read_manifest, stopped_cells
from genae_core.testing import tiny
from genae_core.tracking.delivery import DeliveryError, deliver
from genae_core.tracking.journal import Journal
from genae_core.tracking.mlflow_store import StartedRun
from genae_core.training.checkpoint import save_model, weights_digest
from genae_core.training.loop import fit
from genae_core.training.session import TrainingSession
from genae_core.training.snapshot_folder import SaveSchedule, SnapshotFolder
from genae_core.training.snapshots import take_snapshot

FLIPS = 3  # random bit flips of each file, besides those of its ends


@dataclass(frozen=True)
class Stored:
    """A kind of stored files.

    Attributes:
        make: Writes them into a folder.
        read: Reads them from the folder as genae does, and returns a digest of what they mean.
        others: What else `read` may return, with a warning, in place of the right value.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    others: tuple[Any, ...] = ()


class _Stop(Exception):
    pass


def _make_states(folder: Path) -> None:
    """Two snapshots of a training that was stopped."""
    store = SnapshotFolder(folder / "states" / "key", SaveSchedule(0), training="key")
    save, saved = store.save, []

    def save_twice(snapshot: Any) -> None:
        save(snapshot)
        saved.append(snapshot)
        if len(saved) == 3:
            raise _Stop

    store.save = save_twice  # type: ignore[method-assign]
    replica = replica_of(tiny.experiment(), tiny.splits(), snapshots=store)
    with pytest.raises(_Stop):
        fit(
            replica.model,
            replica.stages,
            replica.examples,
            tiny.experiment().training,
            replica.draw,
            replica.callbacks,
        )


def _read_states(folder: Path) -> Any:
    """The weights and losses of the training that goes on from them."""
    store = SnapshotFolder(folder / "states" / "key", SaveSchedule(1e9), training="key")
    replica = replica_of(tiny.experiment(), tiny.splits(), snapshots=store)
    result = fit(
        replica.model,
        replica.stages,
        replica.examples,
        tiny.experiment().training,
        replica.draw,
        replica.callbacks,
    )
    return weights_digest(replica.model), repr(result.history)


class _Store:
    """A tracking store that keeps what it receives."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def start(self, **fields: Any) -> StartedRun:
        self.calls.append(("start", fields))
        return StartedRun("right", 7)

    def started(self, key: str) -> StartedRun:
        return StartedRun("right", 7)

    def log_metrics(self, run: StartedRun, rows: Any) -> None:
        self.calls.append((run, rows))

    def log_images(self, run: StartedRun, images: Any, steps: list[int]) -> None:
        self.calls.append((run, images.tolist(), steps))

    def log_files(self, run_id: str, path: Path, folder: str | None = None) -> None:
        self.calls.append((run_id, sealed.digests_of(path)))

    def finish(self, run_id: str, **fields: Any) -> None:
        self.calls.append((run_id, fields))

    def sync(self) -> None:
        pass


def _make_journal(folder: Path) -> None:
    """A run whose start has been delivered, and its later events not."""
    journal = Journal(folder / "key")
    journal.start("a run", {"sweep": "s"}, {"lr": 0.1})
    store: Any = _Store()
    deliver(store, folder / "key")
    journal.log_metrics([("fcd", 4.0, 0)])
    journal.log_images([np.full((4, 4, 3), 9, np.uint8)], [0])
    journal.log_text(json.dumps({"a": 1}), "experiment.json")
    journal.finish()
    journal.mark_done(4.5)


def _read_journal(folder: Path) -> Any:
    """What the store receives. If something is missing, the run does not count as finished."""
    done = Journal(folder / "key").done()
    if done is None:
        raise ValueError("the run is run again: see the warning")
    store: Any = _Store()
    deliver(store, folder / "key")
    return done, repr(store.calls)


def _make_shards(folder: Path) -> None:
    prepare(DigitsConfig(), Folder(folder / "shards"))


def _read_shards(folder: Path) -> Any:
    splits = open_shards(Folder(folder / "shards"), folder / "cache")
    return fingerprint(splits), splits.sha256


def _make_cache(folder: Path) -> None:
    _make_shards(folder)
    _read_shards(folder)
    shutil.move(folder / "shards", folder / ".shards")


def _read_cache(folder: Path) -> Any:
    splits = open_shards(Folder(folder / ".shards"), folder / "cache")
    return fingerprint(splits), splits.sha256


def _make_unfinished_shards(folder: Path) -> None:
    """A preparation that was stopped after its last shard."""
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr("genae_core.data.preparation.manifest_of", _interrupt)
        prepare(DigitsConfig(), Folder(folder / "shards"))
    assert (folder / "shards.partial" / PLAN).exists()


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _read_unfinished_shards(folder: Path) -> Any:
    prepare(DigitsConfig(), Folder(folder / "shards"))
    return sealed.digests_of(folder / "shards")


def _make_classifier(folder: Path) -> None:
    recipe = tiny.experiment().classifier
    cached_classifier(recipe, DigitsConfig(), _splits(), folder / "classifiers")


def _read_classifier(folder: Path) -> Any:
    recipe = tiny.experiment().classifier
    home, about = cached_classifier(recipe, DigitsConfig(), _splits(), folder / "classifiers")
    return weights_digest(load_classifier(home)), json.dumps(about, sort_keys=True)


def _splits() -> Splits:
    return tiny.splits()._replace(sha256="0123")


def _make_samples(folder: Path) -> None:
    small, data = tiny.run(), DigitsConfig()
    save_model(folder / ".model", small.model, tiny.experiment().model, data.shape, small.draw)
    _draw(folder)


def _make_unfinished_samples(folder: Path) -> None:
    _make_samples(folder)
    (folder / "out" / MANIFEST).unlink()


def _draw(folder: Path) -> dict[str, str]:
    chain = tiny.experiment().chains[0]
    portable = read_portable_chain(folder / ".model", chain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genae_core.evaluation.generate.PART_BYTES", 20 * 64)
        draw_samples(sampling_job(portable, 1, Folder(folder / "out")), 40)
    files = sealed.digests_of(folder / "out")
    # Nobody reads the plan and the receipts of finished samples.
    return {name: files[name] for name in files if name.startswith(("part-", MANIFEST))}


def _make_sweep(folder: Path) -> None:
    about = {"study": "s", "tracking_uri": "sqlite:////x", "seeds": [0, 1], "cells": {"a": {}}}
    sealed.write(folder / "sweep.json", about)


def _read_sweep(folder: Path) -> Any:
    """The manifest. A resume without one says so, and compares no flags."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise ValueError("sweep.json is missing or damaged")
    return manifest


def _make_stopped(folder: Path) -> None:
    for latent_dim in (2, 4):
        note_stopped(folder, {"family": "vae", "latent_dim": latent_dim})


def _make_curve(folder: Path) -> None:
    (folder / "curve.json").write_text(sealed.to_text({"step": [0, 1], "fcd": [2.5, 1.25]}))


KINDS = {
    "states": Stored(_make_states, _read_states),
    "journal": Stored(_make_journal, _read_journal),
    "shards": Stored(_make_shards, _read_shards),
    "cache": Stored(_make_cache, _read_cache),
    "unfinished shards": Stored(_make_unfinished_shards, _read_unfinished_shards),
    "classifier": Stored(_make_classifier, _read_classifier),
    "samples": Stored(_make_samples, _draw),
    "unfinished samples": Stored(_make_unfinished_samples, _draw),
    "sweep": Stored(_make_sweep, _read_sweep),
    "stopped cells": Stored(
        _make_stopped,
        stopped_cells,
        others=(set(),),  # A cell that is forgotten is tried again.
    ),
    "curve": Stored(
        _make_curve, lambda folder: parse_curves((folder / "curve.json").read_bytes())
    ),
}
SLOW = ("states", "unfinished shards")  # they train, and decode again


def _is_read(path: Path) -> bool:
    """Whether genae decides by the file's content. Locks are empty, and the list of rejected
    files is for people."""
    return path.is_file() and not path.name.endswith(".lock") and path.name != REJECTED


def _files(folder: Path) -> list[Path]:
    """The files to damage; what lies in a hidden folder of this test is left alone."""
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if _is_read(path))
    return [path for path in paths if path.parts[0] not in (".model", ".shards")]


def _damages(content: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """The file's content, damaged in many ways."""
    yield "emptied", b""
    yield "cut", content[: len(content) // 2]
    source = random.Random(name)
    places = [0, len(content) - 2, *(source.randrange(len(content)) for _ in range(FLIPS))]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << source.randrange(7)
        yield f"bit flipped in byte {place}", bytes(flipped)
    if name.endswith(".json"):
        for key, value in json.loads(content).items():
            yield from _changed_values(json.loads(content), key, value)


def _changed_values(values: dict[str, Any], key: str, value: Any) -> Iterator[tuple[str, bytes]]:
    """A JSON file with one value changed, and with one left out."""
    without = {name: other for name, other in values.items() if name != key}
    more = value + 1 if isinstance(value, int | float) else [value]
    yield f"{key} changed", json.dumps({**values, key: more}).encode()
    if key != sealed.SEAL:  # Files of earlier versions have no seal.
        yield f"{key} left out", json.dumps(without).encode()


def _outcome(kind: Stored, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """What reading gave, None if it was refused, and everything that was said."""
    capsys.readouterr()
    try:
        value, said = kind.read(folder), ""
    except (ValueError, DeliveryError) as error:
        value, said = None, str(error)
    captured = capsys.readouterr()
    return value, said + captured.out + captured.err


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in KINDS]
)
def test_no_damaged_file_is_used_without_a_word(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = KINDS[name]
    whole, copy = tmp_path / "whole", tmp_path / "copy"
    whole.mkdir()
    kind.make(whole)
    files = _files(whole)
    assert files
    shutil.copytree(whole, copy)
    expected, said = _outcome(kind, copy, capsys)
    assert expected is not None and "warning" not in said, said
    for file in files:
        content = (whole / file).read_bytes()
        for damage, changed in _damages(content, file.name):
            shutil.rmtree(copy)
            shutil.copytree(whole, copy)
            (copy / file).write_bytes(changed)
            value, said = _outcome(kind, copy, capsys)
            about = f"{file}, {damage}: {said}"
            if value is None or value in kind.others:
                assert said, about
            else:
                assert value == expected, about


@pytest.mark.slow
@pytest.mark.parametrize("name", ["states", "classifier"])
def test_a_file_without_seal_that_lacks_values_is_passed_over_or_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of earlier versions have no seal, and are read if they have everything."""
    kind = KINDS[name]
    whole, copy = tmp_path / "whole", tmp_path / "copy"
    whole.mkdir()
    kind.make(whole)
    files = [file for file in _files(whole) if file.suffix == ".json"]
    stored = {file: unsealed(whole / file) for file in files}
    shutil.copytree(whole, copy)
    expected, said = _outcome(kind, copy, capsys)
    assert expected is not None and "warning" not in said
    newest = files[-1]  # of two states
    for key in stored[newest]:
        for value in (None, "text", [None], {"a": -1}):
            if isinstance(stored[newest][key], str) and value == "text":
                continue
            shutil.rmtree(copy)
            shutil.copytree(whole, copy)
            changed = {**stored[newest], key: value}
            if value is None:
                del changed[key]
            (copy / newest).write_text(json.dumps(changed))
            result, said = _outcome(kind, copy, capsys)
            assert result == expected or (result is None and said), f"{key}={value}: {said}"


def test_a_state_of_another_training_is_passed_over(tmp_path: Path) -> None:
    warnings: list[str] = []
    other = SnapshotFolder(tmp_path / "key", training="other")
    replica = replica_of(tiny.experiment(), tiny.splits())
    session = TrainingSession(
        replica.model, replica.stages, replica.examples, tiny.experiment().training, replica.draw
    )
    other.save(take_snapshot(session))
    mine = SnapshotFolder(tmp_path / "key", warn=warnings.append, training="key")
    assert mine.load_latest() is None
    assert "it is not of the training key, got training='other'" in warnings[0]
