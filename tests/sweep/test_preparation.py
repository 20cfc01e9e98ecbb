"""The FCD's classifier is checked before the first trial of a sweep."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from genae_core import config
from genae_core.data.base import Split, Splits
from genae_core.experiment.experiment import Experiment, resolve
from genae_core.metrics.classifier import strengthen
from genae_core.models.wrapped_checkpoint import WrappedConfig
from genae_core.sweep import preparation, ray_cluster
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import SweepPlace
from genae_core.sweep.preparation import check_checkpoints, check_classifier
from genae_core.sweep.sweep_folder import MANIFEST
from genae_core.testing import tiny

OURS = Path(preparation.__file__).resolve().parents[1]


@pytest.fixture
def blind() -> tuple[Experiment, Splits]:
    """An experiment on white images, on which nothing can be measured."""
    whites = [
        Split(np.full((count, 1, 8, 8), 255, np.uint8), np.arange(count) % 2)
        for count in (120, 40, 40)
    ]
    splits = Splits(*whites)
    return resolve(tiny.experiment(), splits), splits


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepPlace:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "sweep"
    folder.mkdir()
    tracker: Any = None
    return SweepPlace("study", "sweep", folder, tracker)


def write_manifest(place: SweepPlace, **more: Any) -> None:
    (place.folder / MANIFEST).write_text(json.dumps({"study": "study", **more}))


RESUMED = LaunchOptions(name="sweep", resume=True)


def test_a_sweep_with_a_blind_classifier_is_refused(
    blind: tuple[Experiment, Splits], place: SweepPlace
) -> None:
    with pytest.raises(ValueError, match="cannot measure samples") as error:
        check_classifier(place, *blind, LaunchOptions())
    assert "attempt 1: blind: " in str(error.value) and "attempt 2: blind: " in str(error.value)


def test_a_sweep_of_an_earlier_version_goes_on_with_its_blind_classifier(
    blind: tuple[Experiment, Splits], place: SweepPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(place)
    checked = check_classifier(place, *blind, RESUMED)
    assert checked.config == blind[0].classifier and checked.ruler.is_blind
    printed = capsys.readouterr().out
    assert "ruler:  blind: " in printed
    assert "warning: the sweep was started by a version that did not check" in printed


def test_a_resumed_sweep_keeps_the_classifier_that_it_was_started_with(
    place: SweepPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = tiny.splits()
    cell = resolve(tiny.experiment(), splits)
    quick = dataclasses.replace(cell.classifier.training, epochs=1)
    stronger = strengthen(dataclasses.replace(cell.classifier, training=quick), tiny.HALF)
    write_manifest(place, classifier=config.to_dict(stronger))
    assert check_classifier(place, cell, splits, RESUMED).config == stronger
    assert capsys.readouterr().out.count("training the FCD's") == 1


@pytest.mark.parametrize(
    ("program", "trusted", "script"),
    [
        ("lab/study.py", None, "lab/study.py"),
        ("lab/study.py", "lab/parts.py", "lab/study.py"),
        ("bin/genae", "lab/parts.py", "lab/parts.py"),
        (str(OURS / "__main__.py"), "lab/parts.py", "lab/parts.py"),
        ("bin/genae", None, None),
    ],
)
def test_the_study_of_genaes_own_command_is_the_code_that_the_user_trusts(
    program: str,
    trusted: str | None,
    script: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [program, "sweep"])
    modules = [SimpleNamespace(__file__=None)]  # of a namespace package
    modules += [SimpleNamespace(__file__=str(tmp_path / trusted))] if trusted else []
    monkeypatch.setattr(preparation, "TRUSTED", modules)
    assert preparation._study_script() == (tmp_path / script if script else None)


def test_a_checkpoint_that_a_node_cannot_read_is_named_before_the_first_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, missing = tmp_path / "there.pt", tmp_path / "missing.pt"
    there.touch()
    first, second = (
        WrappedConfig(
            loader="a:b", checkpoint=str(path), sha256=64 * digit, latent_dim=2, name="model"
        )
        for path, digit in ((there, "0"), (missing, "1"))
    )
    asked: list[list[str]] = []

    def call(function: Any, places: list[str]) -> list[tuple[str, Any]]:
        asked.append(places)
        return [("head", []), ("worker", function(places))]

    monkeypatch.setattr(ray_cluster, "call_on_each_node", call)
    monkeypatch.setattr(ray_cluster, "nodes", lambda: [{}])
    check_checkpoints([first, second])  # the only node is this one, which has read them
    monkeypatch.setattr(ray_cluster, "nodes", lambda: [{}, {}])
    check_checkpoints([tiny.experiment().model])
    assert asked == []
    check_checkpoints([first])
    with pytest.raises(ValueError, match=f"node worker cannot read the checkpoint {missing}: eve"):
        check_checkpoints([first, second])
