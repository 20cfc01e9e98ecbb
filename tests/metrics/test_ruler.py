"""Which classifiers can measure samples: small sets of images, each with the right verdict."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from genae_core.data.base import Split, Splits, load, take
from genae_core.data.digits import DigitsConfig
from genae_core.metrics import classifier_cache
from genae_core.metrics.classifier import ClassifierConfig, choose_feature_width, strengthen
from genae_core.metrics.classifier_cache import (
    ClassifierCallbacks,
    cached_classifier,
    checked_classifier,
)
from genae_core.metrics.classifier_training import train_classifier
from genae_core.metrics.ruler import (
    MOST_BY_CHANCE,
    Ruler,
    chance_probability,
    is_blind_line,
    measure_ruler,
)
from genae_core.models.optimizers import AdamConfig
from genae_core.training.checkpoint import DESCRIPTION
from genae_core.training.config import TrainingConfig

CONFIG = ClassifierConfig(
    channels=(8,),
    optimizer=AdamConfig(learning_rate=1e-2),
    training=TrainingConfig(epochs=30, batch_size=4, decay="linear"),
)
GOOD = Ruler(
    task="classes",
    accuracy=0.9,
    chance=0.2,
    p_value=1e-9,
    held_out=100,
    features=16,
    varying=16,
    images=100,
    floor=3.0,
)


def cut(images: NDArray[Any], labels: NDArray[Any]) -> Splits:
    """Half of the images to train on, and a quarter in each half of the references."""
    count = len(images)
    whole = Split(images.astype(np.uint8), labels)
    order = np.random.default_rng(0).permutation(count)
    parts = np.split(order, [count // 2, count // 2 + count // 4])
    return Splits(*(take(whole, part) for part in parts))


def noise(count: int, low: int = 0, high: int = 80) -> NDArray[Any]:
    return np.random.default_rng(1).integers(low, high, (count, 1, 8, 8))


def bars(count: int, classes: int) -> Splits:
    """Classes that differ by the place of a bright bar."""
    images, labels = noise(count), np.arange(count) % classes
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * (label % 4) : 2 * (label % 4) + 2] += 150
    return cut(images, labels)


def bright_above(count: int) -> Splits:
    """Images without classes, whose turn can be seen."""
    images = noise(count)
    images[:, :, :4] += 150
    return cut(images, np.zeros(count, np.int64))


def one_image_a_class(count: int) -> Splits:
    return bars(count, count)


def identical_classes(count: int) -> Splits:
    return cut(noise(count), np.arange(count) % 2)


def grey(count: int, classes: int) -> Splits:
    return cut(np.full((count, 1, 8, 8), 127), np.arange(count) % classes)


def white(count: int) -> Splits:
    return cut(np.full((count, 1, 8, 8), 255), np.zeros(count, np.int64))


def measured(splits: Splits) -> Ruler:
    half = min(len(splits.val.images), len(splits.test.images))
    config = dataclasses.replace(CONFIG, feature_width=choose_feature_width(half))
    return measure_ruler(train_classifier(config, splits, False), splits, False)


@pytest.mark.slow
@pytest.mark.parametrize("count", [40, 60])
def test_classes_and_turns_that_can_be_seen_make_a_sound_ruler(count: int) -> None:
    for splits, task in ((bars(count, 4), "classes"), (bright_above(count), "quarter turns")):
        half = min(len(splits.val.images), len(splits.test.images))
        config = dataclasses.replace(CONFIG, feature_width=choose_feature_width(half))
        config = strengthen(config, half)
        ruler = measure_ruler(train_classifier(config, splits, False), splits, False)
        assert ruler.task == task and ruler.line.startswith("sound: "), ruler.line
        assert ruler.p_value <= MOST_BY_CHANCE and ruler.accuracy > ruler.chance


@pytest.mark.parametrize("count", [8, 20, 60])
@pytest.mark.parametrize(
    "make",
    [
        one_image_a_class,
        identical_classes,
        lambda count: grey(count, 2),
        lambda count: grey(count, 1),
        white,
    ],
    ids=[
        "one image a class",
        "identical classes",
        "grey, two classes",
        "grey, one class",
        "white",
    ],
)
def test_a_set_on_which_nothing_can_be_learned_makes_a_blind_ruler(
    make: Callable[[int], Splits], count: int
) -> None:
    ruler = measured(make(count))
    assert ruler.is_blind and is_blind_line(ruler.line)
    assert any("no better than chance" in fault for fault in ruler.faults)
    assert 0 <= ruler.accuracy <= 1 and 0 < ruler.chance <= 1 and 0 <= ruler.p_value <= 1


@pytest.mark.parametrize("make", [lambda: grey(40, 2), lambda: white(40)])
def test_of_equal_images_no_feature_varies_and_the_floor_is_zero(
    make: Callable[[], Splits],
) -> None:
    ruler = measured(make())
    assert ruler.varying == 0 and ruler.floor == 0
    assert {"real images have no FCD above 0", "fewer than 2 features vary"} <= set(ruler.faults)


def test_eight_images_are_too_few_to_tell_a_perfect_classifier_from_chance() -> None:
    """Two classes and four held-out images: four right answers have a probability of 1/16."""
    splits = bars(8, 2)
    assert len(splits.val.images) == len(splits.test.images) == 2
    ruler = measured(splits)
    assert ruler.p_value >= 1 / 16 and ruler.is_blind


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"p_value": 0.01}, None),
        ({"p_value": 0.011}, "no better than chance"),
        ({"p_value": float("nan")}, "no better than chance"),
        ({"varying": 6}, None),  # a third of 16
        ({"varying": 5}, "fewer than 6 features vary"),
        ({"features": 4, "varying": 2}, None),
        ({"features": 4, "varying": 1}, "fewer than 2 features vary"),
        ({"features": 1, "varying": 1}, "fewer than 2 features vary"),
        ({"features": 32, "varying": 6}, None),  # 100 images allow 16 features
        ({"images": 8, "varying": 2}, None),  # and 8 images allow 2
        ({"images": 8, "varying": 1}, "fewer than 2 features vary"),
        ({"floor": 0.0}, "no FCD above 0"),
        ({"floor": None}, "no FCD above 0"),
    ],
)
def test_the_faults_of_a_ruler(changes: dict[str, Any], fault: str | None) -> None:
    ruler = GOOD._replace(**changes)
    if fault is None:
        assert ruler.faults == () and ruler.line.startswith("sound: ")
    else:
        assert [fault in text for text in ruler.faults] == [True]
        assert ruler.line.startswith("blind: ") and ruler.line.endswith(ruler.faults[0])


def test_the_probability_of_an_accuracy_by_chance_is_that_of_the_binomial_test() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    for right in range(11):
        correct = np.arange(10) < right
        exact = binomtest(right, 10, 0.6, alternative="greater").pvalue
        assert chance_probability(correct, labels) == pytest.approx(exact)
    one_class = np.zeros(10, np.int64)
    assert chance_probability(np.ones(10, bool), one_class) == 1


def test_of_attributes_the_best_one_counts_among_all() -> None:
    labels = np.stack([np.arange(40) % 2, np.arange(40) % 2, np.zeros(40)], 1)
    correct = np.stack([np.ones(40), np.arange(40) % 2, np.ones(40)], 1).astype(bool)
    assert chance_probability(correct, labels) == pytest.approx(3 * 0.5**40)
    assert chance_probability(correct[:, 1:], labels[:, 1:]) == 1


def test_the_second_recipe_is_longer_and_wider() -> None:
    first = dataclasses.replace(CONFIG, feature_width=choose_feature_width(360))
    second = strengthen(first, 360)
    assert second.feature_width == 64 == 2 * first.feature_width
    assert second.training.epochs == 4 * first.training.epochs
    same = dataclasses.replace(second, feature_width=32, training=first.training)
    assert same == first
    assert strengthen(dataclasses.replace(CONFIG, feature_width=1), 6).feature_width == 64
    assert strengthen(dataclasses.replace(CONFIG, feature_width=80), 360).feature_width == 80


@pytest.fixture(scope="module")
def few() -> Splits:
    return Splits(*(take(split, np.arange(40)) for split in load(DigitsConfig())[:3]))


QUICK = ClassifierConfig(
    channels=(4,), feature_width=8, training=TrainingConfig(epochs=1, batch_size=20)
)


def test_a_blind_classifier_is_replaced_once_and_a_repeat_finds_the_same(
    few: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measurement is replaced: the first recipe is blind, the second one is not."""
    second = strengthen(QUICK, 40)

    def measure(model: Any, *_: Any) -> Ruler:
        return GOOD if model.config == second else GOOD._replace(p_value=0.5)

    monkeypatch.setattr(classifier_cache, "measure_ruler", measure)
    said: list[str] = []
    checked = checked_classifier(
        QUICK, DigitsConfig(), few, tmp_path, callbacks=ClassifierCallbacks(said.append)
    )
    assert (checked.config, checked.ruler) == (second, GOOD)
    assert checked.before is not None and checked.before.is_blind
    checked.require_sound()
    assert sum(path.is_dir() for path in tmp_path.iterdir()) == 2
    assert len(said) == 3 and "with 4 instead of 1 epochs and 64 instead of 8" in said[1]
    said.clear()
    again = checked_classifier(
        QUICK, DigitsConfig(), few, tmp_path, callbacks=ClassifierCallbacks(said.append)
    )
    assert again == checked and len(said) == 1
    direct = checked_classifier(second, DigitsConfig(), few, tmp_path, retrain=False)
    assert direct.folder == checked.folder and direct.ruler == GOOD


def test_a_classifier_that_stays_blind_is_refused_with_all_figures(tmp_path: Path) -> None:
    checked = checked_classifier(
        dataclasses.replace(QUICK, feature_width=None), DigitsConfig(), white(60), tmp_path
    )
    assert checked.before is not None and checked.ruler.is_blind
    with pytest.raises(ValueError, match="cannot measure samples") as error:
        checked.require_sound()
    text = str(error.value)
    assert checked.before.line in text and checked.ruler.line in text
    assert "Use more images" in text and "--classifier-epochs" in text


def test_more_features_than_a_quarter_of_the_images_are_refused(
    few: Splits, tmp_path: Path
) -> None:
    wide = dataclasses.replace(QUICK, feature_width=2**31 - 1)
    with pytest.raises(ValueError, match="at most a quarter of the smaller half"):
        checked_classifier(wide, DigitsConfig(), few, tmp_path)


def test_a_classifier_of_an_earlier_version_is_measured_when_it_is_read(
    few: Splits, tmp_path: Path
) -> None:
    folder, about = cached_classifier(QUICK, DigitsConfig(), few, tmp_path)
    path = folder / DESCRIPTION
    stored = json.loads(path.read_text())
    del stored["ruler"], stored["seal"]
    path.write_text(json.dumps(stored))
    assert cached_classifier(QUICK, DigitsConfig(), few, tmp_path) == (folder, about)
    assert "ruler" not in json.loads(path.read_text())
