"""When a sweep's name may be taken, and when it is continued."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from contracts.databases import new_store
from torch import nn

from genae_core.config import to_json
from genae_core.config.home import default_store
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.experiment.experiment import Experiment
from genae_core.models.ae import AEConfig
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.models.wrapped import WrappedDecoder, wrap
from genae_core.models.wrapped_checkpoint import WrappedConfig, wrapped_config
from genae_core.nets.base import ComputeConfig, Shape
from genae_core.recipes.family_settings import settings_by_family
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.config import ChainConfig
from genae_core.sweep import autotune, driver, preparation, sweep_folder
from genae_core.sweep.cells import EXPERIMENT, cell_experiment
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import Plan, SweepPlace
from genae_core.sweep.runs import run_key
from genae_core.testing import tiny
from genae_core.tracking import mlflow_store
from genae_core.tracking.mlflow_store import Tracker


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path))
    new_store(tmp_path)
    folder = sweep_folder.folder_of("s", LaunchOptions(name="s"))
    folder.mkdir(parents=True)
    return folder


def open_store(folder: Path, **flags: str | bool | None) -> None:
    options = LaunchOptions(name="s", **flags)  # type: ignore[arg-type]
    before = sweep_folder.check_flags(folder, {}, options)
    sweep_folder.open_store("study", folder, before, options)


def test_a_launch_that_was_killed_while_it_prepared_leaves_the_name_free(folder: Path) -> None:
    (folder / sweep_folder.LOCK).touch()
    open_store(folder)
    (folder / "table.txt").touch()
    with pytest.raises(ValueError, match="'s' exists; choose another --name"):
        open_store(folder)


@pytest.mark.parametrize("content", ["", '{"seeds": [0], "cel', "[]", "{}"])
def test_a_kill_while_the_manifest_is_written_leaves_a_sweep_that_can_be_started(
    folder: Path, content: str
) -> None:
    (folder / sweep_folder.LOCK).touch()
    (folder / f".{sweep_folder.MANIFEST}.123").write_text('{"seeds": [0], "cel')
    if content:
        (folder / sweep_folder.MANIFEST).write_text(content)
    with pytest.raises(ValueError, match="there is no sweep in .* leave out --resume to start it"):
        open_store(folder, resume=True)
    open_store(folder)


def test_a_sweep_whose_manifest_is_damaged_is_resumed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / sweep_folder.MANIFEST).write_text('{"seeds": [0], "cel')
    (folder / sweep_folder.STATES).mkdir()
    with pytest.raises(ValueError, match="'s' exists; .* continue it with --name s --resume"):
        open_store(folder)
    open_store(folder, resume=True)
    assert f"warning: {folder / 'sweep.json'} is missing or damaged" in capsys.readouterr().out
    # Such a sweep does not know what was measured when it began.
    assert sweep_folder.read_manifest(folder) is None
    options = LaunchOptions(name="s", resume=True)
    assert autotune._manifest(folder, options) == {}


def test_a_sweep_whose_folder_is_lost_is_resumed_from_its_runs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.rmdir()
    store = Tracker.create(new_store(tmp_path), "study", tmp_path / "mlartifacts")
    store.start("key", "a run", {"sweep": "s"}, {}, 0)
    with pytest.raises(ValueError, match="'s' exists; .* continue it with --name s --resume"):
        open_store(folder)
    open_store(folder, resume=True)
    assert "is missing or damaged" in capsys.readouterr().out


def test_a_resume_asks_for_the_store_that_the_sweep_was_started_with(
    folder: Path, tmp_path: Path
) -> None:
    about = {"seeds": [0], "cells": {}, "tracking_uri": "http://team:5000"}
    (folder / sweep_folder.MANIFEST).write_text(json.dumps(about))
    with pytest.raises(ValueError, match="started with --tracking-uri http://team:5000"):
        open_store(folder, resume=True)
    open_store(folder, resume=True, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (folder / sweep_folder.MANIFEST).write_text(json.dumps({"seeds": [0], "cells": {}}))
    open_store(folder, resume=True)  # of before the manifest named it


def test_an_object_store_that_does_not_answer_is_named_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    cells = {"c": experiment_at("s3://bucket/images")}
    for flags, named in (({"shards": "s3://shards/x"}, {}), ({}, cells)):
        with pytest.raises(ConnectionError, match="nothing answers at http://127.0.0.1:1"):
            options = LaunchOptions(name="s", **flags)
            sweep_folder.check_flags(folder, named, options)


def test_a_folder_of_data_that_is_missing_is_refused_before_the_store_is_opened(
    folder: Path, tmp_path: Path
) -> None:
    cells = {"c": experiment_at(f"{tmp_path}/photos")}
    with pytest.raises(ValueError, match="photos"):
        sweep_folder.check_flags(folder, cells, LaunchOptions(name="s"))
    (tmp_path / "photos").mkdir()
    assert sweep_folder.check_flags(folder, cells, LaunchOptions(name="s")) == {}


def test_cells_that_say_how_they_compute_are_those_of_before(folder: Path) -> None:
    """A sweep from before there were CUDA graphs, or any choice, is continued."""
    options = LaunchOptions(name="s", resume=True)
    cells = {
        "plain": tiny.experiment(),
        "last": dataclasses.replace(tiny.experiment(), compute=ComputeConfig(channels_last=True)),
    }
    about = json.loads(json.dumps(sweep_folder._what_decides(cells, options)))
    del about["cells"]["plain"]["compute"], about["cells"]["last"]["compute"]["cuda_graphs"]
    (folder / sweep_folder.MANIFEST).write_text(json.dumps(about))
    sweep_folder._check_same(folder, cells, options)
    about["cells"]["last"]["compute"]["channels_last"] = False
    (folder / sweep_folder.MANIFEST).write_text(json.dumps(about))
    reason = r"cell last is not what .*: compute.channels_last was False and is True now; give the"
    with pytest.raises(ValueError, match=reason):
        sweep_folder._check_same(folder, cells, options)


def experiment_at(root: str, **fields: Any) -> Experiment:
    """An experiment whose images lie at a root."""
    data = ImageFolderConfig(root=root, size=32, **fields)
    channels = dataclasses.replace(tiny.experiment().classifier, channels=(4,))
    return dataclasses.replace(tiny.experiment(), data=data, classifier=channels)


def test_another_spelling_of_the_root_is_the_same_sweep(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The experiments keep the spelling of the start, because the run keys depend on it."""
    options = LaunchOptions(name="s", resume=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    monkeypatch.chdir(tmp_path)
    for stored in ("photos", "./photos/", str(tmp_path / "photos") + "/", "link"):
        started = experiment_at(stored)
        about = sweep_folder._what_decides({"cell": started}, options)
        (folder / sweep_folder.MANIFEST).write_text(json.dumps(about))
        cells = {"cell": experiment_at(str(tmp_path / "photos"))}
        sweep_folder._check_same(folder, cells, options)
        kept, data = sweep_folder.keep_places(folder, cells)
        assert kept == {"cell": started} and data == started.data
        key = run_key("s", started, started.chains[0])
        assert run_key("s", kept["cell"], started.chains[0]) == key


def test_a_root_is_read_with_the_present_password(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = LaunchOptions(name="s", resume=True)
    about = sweep_folder._what_decides({"cell": experiment_at("s3://key:***@b/x/")}, options)
    (folder / sweep_folder.MANIFEST).write_text(json.dumps(about))
    cells = {"cell": experiment_at("s3://key:secret@b/x")}
    kept, data = sweep_folder.keep_places(folder, cells)
    assert kept["cell"].data == experiment_at("s3://key:***@b/x/").data
    assert data == cells["cell"].data
    new_store(folder.parents[1])
    tracker = mlflow_store.Tracker.create(default_store(), "study", folder.parents[1] / "files")
    place = SweepPlace("study", "s", folder, tracker)
    preparation._check_moved_data(place, kept["cell"].data, data, tiny.splits())
    printed = capsys.readouterr().out
    assert "s3://key:***@b/x" in printed and "secret" not in printed


def test_the_checkpoint_of_a_finished_autoencoder_may_be_spelled_otherwise(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = LaunchOptions(name="s", resume=True)
    relative, absolute, other = (
        dataclasses.replace(
            tiny.experiment(),
            model=FlowAEConfig(autoencoder=AEConfig(latent_dim=2), finished=path),
        )
        for path in ("ae/", str(tmp_path / "ae"), "other")
    )
    about = sweep_folder._what_decides({"cell": relative}, options)
    (folder / sweep_folder.MANIFEST).write_text(json.dumps(about))
    sweep_folder._check_same(folder, {"cell": absolute}, options)
    assert sweep_folder.keep_places(folder, {"cell": absolute})[0] == {"cell": relative}
    with pytest.raises(ValueError, match="model.finished was '.*/ae' and is '.*/other' now"):
        sweep_folder._check_same(folder, {"cell": other}, options)
    (value,) = settings_by_family(["finished=ae/"], ["flow_ae"]).values()
    assert value == {"finished": str(tmp_path / "ae")}


def test_a_resume_names_the_field_that_differs_and_both_values(
    folder: Path, tmp_path: Path
) -> None:
    options = LaunchOptions(name="s", resume=True)
    about = sweep_folder._what_decides({"cell": experiment_at("/photos")}, options)
    (folder / sweep_folder.MANIFEST).write_text(json.dumps(about))
    with pytest.raises(ValueError, match="data.split_seed was 0 and is 3 now"):
        sweep_folder._check_same(folder, {"cell": experiment_at("/photos", split_seed=3)}, options)
    with pytest.raises(ValueError, match="cell other is not what .* with: it is new"):
        both = {"cell": experiment_at("/photos"), "other": experiment_at("/photos")}
        sweep_folder._check_same(folder, both, options)
    with pytest.raises(ValueError, match="cell cell is not what .* the present flags do not name"):
        sweep_folder._check_same(folder, {}, options)
    # The images may have moved: their digest decides, after they are read.
    moved = {"cell": experiment_at("/elsewhere")}
    sweep_folder._check_same(folder, moved, options)
    kept, data = sweep_folder.keep_places(folder, moved)
    assert kept == {"cell": experiment_at("/photos")} and data == moved["cell"].data


@pytest.mark.parametrize(("sha256", "refused"), [("a" * 64, False), ("b" * 64, True)])
def test_moved_images_are_taken_if_they_are_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str], sha256: str, refused: bool
) -> None:
    new_store(folder.parents[1])
    tracker = mlflow_store.Tracker.create(default_store(), "study", folder.parents[1] / "files")
    tracker.start("key", "name", {"sweep": "s", "data_sha256": "a" * 64}, {}, 1000)
    place = SweepPlace("study", "s", folder, tracker)
    stored, present = experiment_at("/photos").data, experiment_at("/moved").data
    splits = tiny.splits()._replace(sha256=sha256)
    preparation._check_moved_data(place, stored, stored, splits)
    if refused:
        with pytest.raises(ValueError, match="data.root was '/photos' .* and is '/moved' now"):
            preparation._check_moved_data(place, stored, present, splits)
    else:
        preparation._check_moved_data(place, stored, present, splits)
        assert "are read from /moved; it was started with /photos" in capsys.readouterr().out


def test_a_resumed_search_trains_with_the_root_of_its_start() -> None:
    started, present = experiment_at("photos"), experiment_at("/here/photos")
    params = {"family": "vae", EXPERIMENT: to_json(present)}
    splits = tiny.splits()
    experiment = cell_experiment(params, {"first": started}, splits, ComputeConfig())
    assert experiment.data == started.data


def test_the_roots_of_a_plan_are_absolute_when_they_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    searcher: Any = None
    plan = driver._locate_data(Plan([{}], {"cell": experiment_at("photos")}, searcher, 1))
    assert plan.cells == {"cell": experiment_at(str(tmp_path / "photos"))}
    assert driver._locate_data(plan) is plan
    digits = Plan([{}], {"cell": tiny.experiment()}, searcher, 1)
    assert driver._locate_data(digits) is digits


def test_flags_that_name_places_are_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    options = LaunchOptions(
        name="s", storage="~/a b", tracking_uri="sqlite:///x?y.db", shards="file:///s%20/"
    )
    assert sweep_folder.folder_of("s", options) == tmp_path / "me" / "a b" / "s"
    assert sweep_folder.mirror_of("s", options) is None
    assert options.tracking_uri == f"sqlite+pysqlite:///{tmp_path}/x%3Fy.db"
    assert options.shards == "/s "
    mirror = sweep_folder.mirror_of(
        "s", LaunchOptions(name="s", storage="s3://b/my sweeps?region=x")
    )
    assert mirror is not None and mirror.uri == "s3://b/my sweeps/s?region=x"
    assert (mirror / "states").uri == "s3://b/my sweeps/s/states?region=x"


def load_decoder(path: Path, shape: Shape) -> WrappedDecoder:
    net = nn.Sequential(nn.Linear(2, 64), nn.Sigmoid(), nn.Unflatten(1, shape))
    return wrap(net, None, net, latent_dim=2, shape=shape)


def test_the_checkpoint_of_another_package_may_move_and_may_not_change(
    folder: Path, tmp_path: Path
) -> None:
    """A sweep that is resumed reads it where it is now; its runs keep their keys."""

    def cell_of(name: str) -> dict[str, Experiment]:
        model = wrapped_config(tmp_path / name, load_decoder, (1, 8, 8))
        chains = (ChainConfig(sampler=Ancestral(), record=(0,)),)
        base = dataclasses.replace(tiny.experiment(), chains=chains, training=None, model=model)
        return {"cell": base}

    options = LaunchOptions(name="s", resume=True)
    (tmp_path / "a.pt").write_bytes(b"weights")
    started = cell_of("a.pt")
    about = sweep_folder._what_decides(started, options)
    (folder / sweep_folder.MANIFEST).write_text(json.dumps(about))
    (tmp_path / "a.pt").rename(tmp_path / "b.pt")
    moved = cell_of("b.pt")
    sweep_folder._check_same(folder, moved, options)
    kept = sweep_folder.keep_places(folder, moved)[0]["cell"]
    assert isinstance(kept.model, WrappedConfig)
    assert kept.model.checkpoint == str(tmp_path / "b.pt")
    key = run_key("s", started["cell"], started["cell"].chains[0])
    assert run_key("s", kept, kept.chains[0]) == key
    (tmp_path / "b.pt").write_bytes(b"others")
    with pytest.raises(ValueError, match="cell cell is not what .*: model.sha256 was '.*' and is"):
        sweep_folder._check_same(folder, cell_of("b.pt"), options)
