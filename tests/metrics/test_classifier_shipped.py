"""The classifiers that genae ships, and which classifier a dataset is measured by."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from genae_core.data import sealed
from genae_core.data.base import Split, Splits, load, take
from genae_core.data.digits import DigitsConfig
from genae_core.metrics import classifier_choice, classifier_shipped
from genae_core.metrics.classifier import ClassifierConfig, choose_feature_width, quicken
from genae_core.metrics.classifier_cache import (
    CheckedClassifier,
    ClassifierCallbacks,
    load_classifier,
    recipe_key,
    trained_folder,
)
from genae_core.metrics.classifier_choice import find_classifier
from genae_core.metrics.classifier_shipped import SHIPPED, shipped_classifier, shipped_with
from genae_core.metrics.classifier_task import held_out_split
from genae_core.metrics.classifier_training import accuracy
from genae_core.metrics.ruler import Ruler, measure_ruler
from genae_core.recipes.dataset_names import FileDataset
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import DataOptions
from genae_core.training import checkpoint
from genae_core.training.checkpoint import DESCRIPTION, WEIGHTS
from genae_core.training.config import TrainingConfig

NAMES = sorted(path.name for path in SHIPPED.iterdir())
# The least accuracy that is expected of each recipe on the held-out images.
LEAST = {"digits": 0.97, "fashion_mnist": 0.90, "mnist": 0.99}
RECIPE = dataset_recipe(DataOptions()).classifier
TINY = ClassifierConfig(
    channels=(4,), feature_width=8, training=TrainingConfig(epochs=1, batch_size=20)
)


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load(DigitsConfig())


@pytest.fixture
def find(digits: Splits, tmp_path: Path) -> Callable[..., tuple[CheckedClassifier, str]]:
    """Find a classifier; also returns what was said."""

    def find(
        config: ClassifierConfig = RECIPE,
        data: Any = None,
        splits: Splits = digits,
        choice: Literal["shipped", "train"] | None = None,
    ) -> tuple[CheckedClassifier, str]:
        said: list[str] = []
        data = data or DigitsConfig()
        checked = find_classifier(
            config, data, splits, tmp_path, choice, ClassifierCallbacks(said.append)
        )
        return checked, "\n".join(said)

    return find


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_a_shipped_classifier(name: str) -> None:
    shipped = shipped_classifier(name)
    assert shipped is not None
    about = shipped.about
    assert about["dataset"] == name and about["precision"] == "fp32" and about["seed"] == 0
    assert about["sha256"] == sealed.sha256_of(shipped.folder / WEIGHTS)
    ruler = Ruler(**about["ruler"])
    assert not ruler.is_blind and ruler.accuracy == about["accuracy"] >= LEAST[name]
    counts = [about["splits"][split]["images"] for split in ("train", "val", "test")]
    assert sum(counts[1:]) == ruler.held_out
    if name != "digits":
        assert counts == [60_000, 5_000, 5_000]
    assert shipped.config.feature_width == choose_feature_width(min(counts[1:]))
    assert (shipped.folder / WEIGHTS).stat().st_size < 2 * 2**20
    assert shipped_with(about["sha256"]) == shipped
    model = load_classifier(shipped.folder)
    assert model.top.out_features == about["num_outputs"] == 10


def test_all_shipped_files_are_small() -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {WEIGHTS, DESCRIPTION}
    assert sum(path.stat().st_size for path in files) < 5 * 2**20


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_classifier_stands_for_the_recipe_of_its_dataset(name: str) -> None:
    """A recipe that changes needs another shipped classifier."""
    shipped = shipped_classifier(name)
    assert shipped is not None
    root = None if name == "digits" else "anywhere"
    for smoke in (False, True):
        dataset: FileDataset = name  # type: ignore[assignment]
        recipe = dataset_recipe(DataOptions(dataset=dataset, data_root=root, smoke=smoke))
        assert shipped.stands_for(recipe.classifier) and shipped.misfit(recipe.data) is None
        assert shipped.stands_for(
            dataclasses.replace(recipe.classifier, feature_width=shipped.config.feature_width)
        )
        for change in (
            {"feature_width": 9},
            {"seed": 1},
            {"training": dataclasses.replace(recipe.classifier.training, epochs=7)},
        ):
            assert not shipped.stands_for(dataclasses.replace(recipe.classifier, **change))


def test_the_accuracy_and_the_ruler_of_the_digits_are_those_that_are_written(
    digits: Splits,
) -> None:
    shipped = shipped_classifier("digits")
    assert shipped is not None
    model = load_classifier(shipped.folder)
    assert accuracy(model, held_out_split(digits), binarize=False) == shipped.about["accuracy"]
    measured, written = measure_ruler(model, digits, False), Ruler(**shipped.about["ruler"])
    assert measured.floor == pytest.approx(written.floor, rel=1e-3)
    assert measured._replace(floor=None) == written._replace(floor=None)
    assert shipped.about["recipe"] == recipe_key(
        dataclasses.replace(shipped.config, weights=None), shipped.about["data"], False
    )


def test_the_digits_are_measured_by_the_shipped_classifier(
    find: Callable[..., Any], digits: Splits, tmp_path: Path
) -> None:
    """Nothing is trained, and nothing is written to GENAE_HOME."""
    checked, said = find()
    shipped = shipped_classifier("digits")
    assert shipped is not None
    assert (checked.folder, checked.config) == (shipped.folder, shipped.config)
    assert checked.config.weights == checked.about["sha256"] == shipped.about["sha256"]
    assert checked.name == f"digits {checked.about['sha256'][:8]} (shipped with genae)"
    assert said == "" and not list(tmp_path.iterdir())
    again, _ = find(checked.config)  # as a run stores it
    assert again == checked


def keep_trained(folder: Path, splits: Splits) -> Path:
    """A trained classifier in GENAE_HOME, as where the training gives the shipped weights."""
    shipped = shipped_classifier("digits")
    assert shipped is not None and shipped.config.feature_width is not None
    recipe = dataclasses.replace(shipped.config, weights=None)
    home = trained_folder(recipe, DigitsConfig(), splits, folder)
    key = recipe_key(recipe, splits.sha256, False)
    tensors, about = checkpoint.read(shipped.folder)
    checkpoint.write(home, tensors, {**about, "data": splits.sha256, "recipe": key})
    return home


def test_the_choice_depends_on_the_flags_and_the_images_alone(
    find: Callable[..., Any], digits: Splits, tmp_path: Path
) -> None:
    """A classifier that was trained before is named, and is used with --classifier train."""
    home = keep_trained(tmp_path, digits)
    checked, said = find()
    assert checked.folder.is_relative_to(SHIPPED) and said == ""  # The weights are the same.
    checked, said = find(choice="train")
    assert checked.folder == home and checked.config.weights is None and said == ""
    assert checked.name == f"digits {checked.about['sha256'][:8]} (trained)"
    stored = dataclasses.replace(checked.config, weights=checked.about["sha256"])
    assert find(stored, choice="train")[0].folder == home
    weights = home / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"0")
    checked, said = find()
    assert checked.folder.is_relative_to(SHIPPED)
    assert f"note: {home} holds another classifier of these images. --classifier train" in said


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[ClassifierConfig]:
    """The recipes that were chosen, without their trainings."""
    recipes: list[ClassifierConfig] = []
    monkeypatch.setattr(
        classifier_choice, "checked_classifier", lambda config, *_, **__: recipes.append(config)
    )
    return recipes


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (DigitsConfig(binarize=True), "takes grey pixels, and these are thresholded pixels"),
        (DigitsConfig(), "was made with other images in val and test"),
    ],
)
def test_other_images_are_measured_by_a_classifier_that_is_trained_on_them(
    find: Callable[..., Any],
    digits: Splits,
    data: DigitsConfig,
    reason: str,
    chosen: list[ClassifierConfig],
) -> None:
    few = digits._replace(test=take(digits.test, np.arange(350)), sha256="")
    _, said = find(data=data, splits=digits if data.binarize else few)
    assert f"note: the classifier that genae ships for digits {reason}" in said
    assert chosen == [quicken(RECIPE, "fp32")]


def test_a_recipe_of_ones_own_is_trained_without_a_word(
    find: Callable[..., Any], chosen: list[ClassifierConfig]
) -> None:
    assert find(TINY)[1] == "" and chosen == [quicken(TINY, "fp32")]


def test_a_classifier_that_is_there_is_used_as_it_is(
    digits: Splits, tmp_path: Path, chosen: list[ClassifierConfig]
) -> None:
    """Without one, the recipe is trained in its quick form, in the precision that is chosen."""
    asked: list[ClassifierConfig] = []

    def choose(config: ClassifierConfig) -> Literal["bf16"]:
        asked.append(config)
        return "bf16"

    callbacks = ClassifierCallbacks(choose_precision=choose)
    for _ in range(2):
        find_classifier(TINY, DigitsConfig(), digits, tmp_path, "train", callbacks)
        trained_folder(TINY, DigitsConfig(), digits, tmp_path).mkdir(exist_ok=True)
    assert chosen == [quicken(TINY, "bf16"), TINY] and asked == [TINY]


def test_the_shipped_one_measures_other_training_images(
    find: Callable[..., Any], digits: Splits
) -> None:
    """The FCDs can be compared, and the floor is that of the images at hand."""
    few = digits._replace(train=take(digits.train, np.arange(700)), sha256="")
    (checked, said), (usual, _) = find(splits=few), find()
    assert checked.config == usual.config and said == ""
    assert checked.ruler.accuracy == usual.ruler.accuracy
    assert checked.ruler.floor != usual.ruler.floor and not checked.ruler.is_blind


def test_the_flag_shipped_is_for_images_that_the_classifier_can_see(
    find: Callable[..., Any], digits: Splits
) -> None:
    few = digits._replace(test=take(digits.test, np.arange(340)), sha256="")
    checked, said = find(TINY, splits=few, choice="shipped")
    shipped = shipped_classifier("digits")
    assert shipped is not None and checked.config == shipped.config
    assert "these FCDs can be compared with each other only" in said
    assert checked.ruler.held_out == 700 != shipped.about["ruler"]["held_out"]
    with pytest.raises(ValueError, match="--classifier shipped: .* takes grey pixels"):
        find(data=DigitsConfig(binarize=True), choice="shipped")
    with pytest.raises(ValueError, match="it takes grey pixels, and these are thresholded"):
        find(shipped.config, data=DigitsConfig(binarize=True))
    other = dataclasses.replace(shipped.config, weights="0" * 64)
    with pytest.raises(ValueError, match="does not ship the classifier with the sha256 0000"):
        find(other)


def test_the_flag_shipped_needs_a_shipped_classifier(
    find: Callable[..., Any], digits: Splits
) -> None:
    class Own(DigitsConfig):
        name = "own"

    with pytest.raises(ValueError, match="genae ships no classifier for own: leave the flag out"):
        find(data=Own(), choice="shipped")


def test_a_blind_shipped_classifier_is_not_trained_again(
    find: Callable[..., Any], digits: Splits
) -> None:
    white = Split(np.full((200, 1, 8, 8), 255, np.uint8), np.arange(200) % 10)
    checked, said = find(splits=Splits(white, white, white), choice="shipped")
    assert checked.ruler.is_blind and checked.before is None and "training" not in said
    with pytest.raises(ValueError, match="train a classifier on these images with --classifier t"):
        checked.require_sound()


@pytest.mark.parametrize("damage", ["weights", "description", "missing"])
def test_a_damaged_file_of_genae_is_one_clear_message(
    find: Callable[..., Any], tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "package"
    shutil.copytree(SHIPPED, copy)
    monkeypatch.setattr(classifier_shipped, "SHIPPED", copy)
    path = copy / "digits" / (DESCRIPTION if damage == "description" else WEIGHTS)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    if damage == "missing":
        path.unlink()
    with pytest.raises(ValueError, match="comes with genae in .* cannot be used: ") as error:
        find()
    assert "Install genae again, or give --classifier train" in str(error.value)


def test_the_flags_of_a_training_do_not_go_with_a_shipped_classifier() -> None:
    with pytest.raises(ValueError, match="not trained: leave out --classifier-width"):
        DataOptions(classifier="shipped", classifier_width=8)
    assert DataOptions(classifier="train", classifier_epochs=3).classifier == "train"
