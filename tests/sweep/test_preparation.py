"""The FCD's classifier is checked before the first trial of a sweep."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from genae_core import config
from genae_core.data.base import Split, Splits, fingerprint, load
from genae_core.data.digits import DigitsConfig
from genae_core.experiment.experiment import Experiment, resolve
from genae_core.metrics.classifier import TrainingPrecision, quicken, strengthen
from genae_core.metrics.classifier_cache import CheckedClassifier, recipe_key
from genae_core.metrics.classifier_shipped import shipped_classifier
from genae_core.metrics.ruler import Ruler
from genae_core.models.wrapped_checkpoint import WrappedConfig
from genae_core.nets.base import ComputeConfig
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import DataOptions
from genae_core.sweep import preparation, ray_cluster, sweep_folder
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


class Runs:
    """A tracking store with the params and tags of a sweep's runs; there are none at first."""

    def __init__(self) -> None:
        self.runs: list[SimpleNamespace] = []

    def add(self, params: dict[str, str], tags: dict[str, str]) -> None:
        data = SimpleNamespace(params=params, tags=tags)
        self.runs.append(SimpleNamespace(data=data))

    def find(self, sweep: str) -> list[SimpleNamespace]:
        assert sweep == "sweep"
        return self.runs


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepPlace:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "sweep"
    folder.mkdir()
    tracker: Any = Runs()
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


@pytest.fixture(scope="module")
def digits() -> tuple[Experiment, Splits]:
    """An experiment with the recipe of --smoke, and all images."""
    recipe = dataset_recipe(DataOptions(smoke=True))
    splits = load(DigitsConfig())
    experiment = dataclasses.replace(tiny.experiment(), classifier=recipe.classifier)
    return resolve(experiment, splits), splits


def shipped_digits() -> CheckedClassifier:
    shipped = shipped_classifier("digits")
    assert shipped is not None
    about = shipped.about
    return CheckedClassifier(shipped.folder, about, shipped.config, Ruler(**about["ruler"]))


def test_a_new_sweep_on_the_digits_trains_no_classifier(
    digits: tuple[Experiment, Splits], place: SweepPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = check_classifier(place, *digits, LaunchOptions())
    assert checked.config == shipped_digits().config
    assert checked.about["data"] == digits[1].sha256
    printed = capsys.readouterr().out
    sha256 = checked.about["sha256"]
    assert f"classifier digits {sha256[:8]} (shipped with genae): " in printed
    assert "training" not in printed and "note:" not in printed
    assert not (place.folder.parent / "home" / "classifiers").exists()


def test_a_resumed_sweep_keeps_the_shipped_or_the_trained_classifier(
    digits: tuple[Experiment, Splits], place: SweepPlace
) -> None:
    """Also if its manifest is lost: its runs name the weights of a shipped one."""
    splits = tiny.splits()
    trained = resolve(tiny.experiment(), splits)
    write_manifest(place, classifier=config.to_dict(trained.classifier))
    checked = check_classifier(place, trained, splits, RESUMED)
    assert checked.config == trained.classifier and checked.name.endswith("(trained)")
    with pytest.raises(ValueError, match="the sweep was started with --classifier train; leave"):
        check_classifier(
            place, trained, splits, dataclasses.replace(RESUMED, classifier="shipped")
        )

    shipped = shipped_digits().config
    write_manifest(place, classifier=config.to_dict(shipped))
    assert check_classifier(place, *digits, RESUMED).config == shipped
    with pytest.raises(ValueError, match="the sweep was started with --classifier shipped; leave"):
        check_classifier(place, *digits, dataclasses.replace(RESUMED, classifier="train"))

    (place.folder / MANIFEST).unlink()
    runs: Any = place.tracker
    runs.add({"classifier.weights": shipped.weights}, {})
    assert check_classifier(place, *digits, RESUMED).config == shipped


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_a_manifest_the_runs_say_how_their_classifier_was_trained(
    place: SweepPlace, precision: TrainingPrecision
) -> None:
    splits = tiny.splits()
    cell = resolve(tiny.experiment(), splits)
    quick = quicken(cell.classifier, precision)
    runs: Any = place.tracker
    runs.add({}, {"classifier_recipe": recipe_key(quick, fingerprint(splits), binarize=False)})
    assert check_classifier(place, cell, splits, RESUMED).config == quick


def test_a_resumed_sweep_says_if_another_classifier_measures_the_next_runs(
    digits: tuple[Experiment, Splits], place: SweepPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    checked, runs = shipped_digits(), place.tracker
    assert isinstance(runs, Runs)
    write_manifest(place, classifier=config.to_dict(checked.config))
    runs.add({}, {"classifier_sha256": checked.about["sha256"]})
    runs.add({}, {})  # a run of a version that did not store it
    check_classifier(place, *digits, RESUMED)
    assert capsys.readouterr().err == ""
    runs.add({}, {"classifier_sha256": "0123456789abcdef"})
    check_classifier(place, *digits, RESUMED)
    printed = capsys.readouterr().err
    assert "warning: the runs until now were measured by the classifier 01234567, and " in printed
    assert "their FCDs cannot be compared" in printed


@pytest.mark.parametrize("kind", ["shipped", "train"])
def test_the_manifest_holds_the_classifier_that_a_resume_keeps(
    digits: tuple[Experiment, Splits], place: SweepPlace, kind: str
) -> None:
    """The cells keep the recipe of their flags, in whose place a shipped classifier measures."""
    cell, shipped = digits[0], shipped_digits().config
    sweep = SimpleNamespace(
        cells={"cell": cell},
        classifier=shipped if kind == "shipped" else None,
        compute=ComputeConfig(),
        compute_from="as --precision says",
        stack_seeds=False,
        features="bf16",
    )
    uri: Any = SimpleNamespace(uri="sqlite:///mlflow.db")
    prepared: Any = SimpleNamespace(
        place=place._replace(tracker=uri),
        sweep=sweep,
        options=LaunchOptions(),
        plan=SimpleNamespace(cells={"cell": cell}),
    )
    sweep_folder.write_manifest(prepared)
    manifest = sweep_folder.read_manifest(place.folder)
    assert manifest is not None and manifest["features"] == "bf16"
    assert manifest["compute_from"] == "as --precision says"
    kept = sweep_folder.stored_classifier(place.folder)
    assert kept == (shipped if kind == "shipped" else cell.classifier)
