import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch

from genae_core.data.base import Split, Splits, fingerprint, load, take
from genae_core.data.digits import DigitsConfig
from genae_core.distributions.rng import Draw
from genae_core.metrics.classifier import (
    Classifier,
    ClassifierConfig,
    TrainingPrecision,
    choose_feature_width,
    cross_entropy,
    quicken,
    strengthen,
)
from genae_core.metrics.classifier_cache import (
    SILENCE,
    cached_classifier,
    load_classifier,
    quick_recipe,
    recipe_key,
    recipe_of_key,
    trained_folder,
)
from genae_core.metrics.classifier_task import rotate
from genae_core.metrics.classifier_training import OnBatch, accuracy, train_classifier
from genae_core.models.optimizers import AdamConfig
from genae_core.testing.toys import digest
from genae_core.training.checkpoint import WEIGHTS
from genae_core.training.config import TrainingConfig

TINY = ClassifierConfig(
    channels=(4,), feature_width=8, training=TrainingConfig(epochs=1, batch_size=20)
)


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load(DigitsConfig())


@pytest.fixture(scope="module")
def few(digits: Splits) -> Splits:
    return Splits(*(take(split, np.arange(60)) for split in digits[:3]))


def _count() -> tuple[list[int], Callable[[], AbstractContextManager[OnBatch]]]:
    calls: list[int] = []

    def on_train() -> AbstractContextManager[OnBatch]:
        calls.append(1)
        return SILENCE

    return calls, on_train


@pytest.mark.slow
def test_it_reads_digits(digits: Splits, tmp_path: Path) -> None:
    """Half the training of the digits studies' recipe, on the 720 held-out images.

    The bar is a share of 0.96: an accuracy of 0.98 has a standard error of 0.0052 on 720
    images, so the bar is almost four of them below it.
    """
    config = ClassifierConfig(
        feature_width=32,
        optimizer=AdamConfig(learning_rate=3e-3),
        training=TrainingConfig(epochs=30, batch_size=50, decay="linear"),
    )
    folder, about = cached_classifier(config, DigitsConfig(), digits, tmp_path)
    assert about["accuracy"] >= 0.96
    model = load_classifier(folder)
    held_out = Split(
        np.concatenate([digits.val.images, digits.test.images]),
        np.concatenate([digits.val.labels, digits.test.labels]),
    )
    assert accuracy(model, held_out, False) == about["accuracy"]
    x = Draw(0).uniform((5, 1, 8, 8))
    assert model.features(x).shape == (5, 32) and model(x).shape == (5, 10)
    assert torch.equal(model(x), model.top(model.features(x)))
    assert not any(module.training for module in model.modules())


def test_a_second_call_does_not_train(few: Splits, tmp_path: Path) -> None:
    calls, on_train = _count()
    first = cached_classifier(TINY, DigitsConfig(), few, tmp_path, on_train=on_train)
    second = cached_classifier(TINY, DigitsConfig(), few, tmp_path, on_train=on_train)
    assert len(calls) == 1 and first == second
    folder, about = first
    assert folder.parent == tmp_path and folder.name.startswith("digits-")
    assert about["dataset"] == "digits" and about["data"] == fingerprint(few)
    assert about["recipe"] == recipe_key(TINY, fingerprint(few), False)


def test_another_recipe_or_other_data_is_another_classifier(few: Splits, tmp_path: Path) -> None:
    images = few.train.images.copy()
    images[0, 0, 0, 0] ^= 1
    other_image = few._replace(train=few.train._replace(images=images))
    labels = few.val.labels.copy()
    labels[0] = (labels[0] + 1) % 10
    other_label = few._replace(val=few.val._replace(labels=labels))
    calls, on_train = _count()
    digits, binarized = DigitsConfig(), DigitsConfig(binarize=True)
    folders = [
        cached_classifier(config, data, splits, tmp_path, on_train=on_train)[0]
        for config, data, splits in [
            (TINY, digits, few),
            (dataclasses.replace(TINY, seed=1), digits, few),
            (dataclasses.replace(TINY, channels=(5,)), digits, few),
            (TINY, binarized, few),
            (TINY, digits, other_image),
            (TINY, digits, other_label),
        ]
    ]
    assert len(set(folders)) == len(calls) == len(folders)


def test_notes_are_no_part_of_the_data(few: Splits) -> None:
    assert fingerprint(few._replace(notes=("anything",))) == fingerprint(few)


def test_weights_that_were_changed_are_refused(few: Splits, tmp_path: Path) -> None:
    folder, _ = cached_classifier(TINY, DigitsConfig(), few, tmp_path)
    weights = folder / WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    for use in (
        lambda: load_classifier(folder),
        lambda: cached_classifier(TINY, DigitsConfig(), few, tmp_path),
    ):
        with pytest.raises(ValueError, match="is not the file that was written"):
            use()


def test_training_is_bit_identical_and_the_cache_keeps_it(few: Splits, tmp_path: Path) -> None:
    one, other = train_classifier(TINY, few, False), train_classifier(TINY, few, False)
    assert digest(one) == digest(other)
    assert digest(train_classifier(dataclasses.replace(TINY, seed=1), few, False)) != digest(one)
    folder, _ = cached_classifier(TINY, DigitsConfig(), few, tmp_path)
    assert digest(load_classifier(folder)) == digest(one)


@pytest.mark.parametrize(("target", "batches"), [(0.01, 6), (1.0, 15), (None, 15)])
def test_a_training_ends_after_its_first_part_if_it_has_reached_its_target(
    few: Splits, target: float | None, batches: int
) -> None:
    """Five epochs of three batches of 20 images: the first part, a third, is two epochs."""
    training = TrainingConfig(epochs=5, batch_size=20, decay="linear")
    config = dataclasses.replace(TINY, training=training, target_accuracy=target)
    counts: list[tuple[int, int]] = []
    model = train_classifier(config, few, False, on_batch=lambda *done: counts.append(done))
    assert counts == [(number, 15) for number in range(batches)]
    assert not model.training


def test_the_first_part_is_a_training_of_its_own(few: Splits) -> None:
    """Its learning rate has decayed when it ends, so that its classifier is a good one."""
    training = TrainingConfig(epochs=6, batch_size=20, decay="linear")
    config = dataclasses.replace(TINY, training=training, target_accuracy=0.01)
    short = dataclasses.replace(training, epochs=2)
    alone = dataclasses.replace(TINY, training=short)
    one, other = train_classifier(config, few, False), train_classifier(alone, few, False)
    assert digest(one) == digest(other)


def test_training_in_bf16_is_bit_identical_and_close_to_fp32(few: Splits) -> None:
    config = dataclasses.replace(TINY, training_precision="bf16")
    one, other = train_classifier(config, few, False), train_classifier(config, few, False)
    plain = train_classifier(TINY, few, False)
    assert digest(one) == digest(other) != digest(plain)
    for parameter, exact in zip(one.parameters(), plain.parameters(), strict=True):
        assert parameter.dtype == torch.float32
        # Three steps of Adam move each weight by at most 3e-3.
        torch.testing.assert_close(parameter, exact, rtol=0, atol=6e-3)


def test_a_quick_recipe_is_another_classifier_in_each_precision(few: Splits) -> None:
    recipes = [TINY, quicken(TINY, "fp32"), quicken(TINY, "bf16")]
    keys = [recipe_key(recipe, fingerprint(few), False) for recipe in recipes]
    assert len(set(keys)) == 3
    assert quicken(recipes[2], "fp32") == recipes[2]
    for recipe, key in zip(recipes, keys, strict=True):
        assert recipe_of_key(TINY, DigitsConfig(), few, {"", key}) == recipe
    assert recipe_of_key(TINY, DigitsConfig(), few, {""}) is None


@pytest.mark.parametrize("held", [TINY, quicken(TINY, "bf16"), quicken(TINY, "fp32")])
def test_a_classifier_that_the_folder_holds_is_used_in_whichever_precision_it_was_trained(
    few: Splits, tmp_path: Path, held: ClassifierConfig
) -> None:
    """Otherwise a sweep with another --precision would measure with another classifier."""

    def recipe(precision: TrainingPrecision) -> ClassifierConfig:
        return quick_recipe(TINY, DigitsConfig(), few, tmp_path, lambda _: precision)

    assert (recipe("fp32"), recipe("bf16")) == (quicken(TINY, "fp32"), quicken(TINY, "bf16"))
    trained_folder(held, DigitsConfig(), few, tmp_path).mkdir()
    assert recipe("fp32") == recipe("bf16") == held


def test_the_second_attempt_trains_all_its_epochs() -> None:
    assert strengthen(quicken(TINY, "bf16"), 60).target_accuracy is None
    assert strengthen(quicken(TINY, "bf16"), 60).training_precision == "bf16"


def test_several_attributes_are_learned_at_once(few: Splits) -> None:
    """[N, A] labels: A logits, and accuracy over all of them."""
    source = np.random.default_rng(0)
    bright = source.integers(0, 2, (200, 2)).astype(np.uint8)
    images = np.zeros((200, 1, 8, 8), np.uint8)
    images[:, 0, :, :4] = 255 * bright[:, 0, None, None]
    images[:, 0, :, 4:] = 255 * bright[:, 1, None, None]
    split = Split(images, bright)
    config = dataclasses.replace(
        TINY,
        optimizer=AdamConfig(learning_rate=1e-2),
        training=TrainingConfig(epochs=40, batch_size=20, decay="linear"),
    )
    model = train_classifier(config, Splits(split, split, split), False)
    assert model.top.out_features == 2
    assert accuracy(model, split, False) == 1.0


def test_without_classes_the_task_is_the_turn_of_an_image(tmp_path: Path) -> None:
    """The images are bright above and dark below, so their turn can be learned."""
    noise = np.random.default_rng(0).integers(0, 100, (400, 1, 8, 8)).astype(np.uint8)
    noise[:, :, :4] += 120
    parts = [
        Split(noise[first:last], np.zeros(last - first, np.int64))
        for first, last in ((0, 200), (200, 300), (300, 400))
    ]
    config = dataclasses.replace(
        TINY,
        optimizer=AdamConfig(learning_rate=1e-2),
        training=TrainingConfig(epochs=40, batch_size=20, decay="linear"),
    )
    _, about = cached_classifier(config, DigitsConfig(), Splits(*parts), tmp_path)
    assert about["task"] == "quarter turns" and about["num_outputs"] == 4
    assert about["accuracy"] > 0.95


def test_rotated_images() -> None:
    image = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)
    images = np.repeat(image, 4, axis=0)
    result = rotate(images, np.arange(4))
    wanted = [[[0, 1], [2, 3]], [[1, 3], [0, 2]], [[3, 2], [1, 0]], [[2, 0], [3, 1]]]
    np.testing.assert_array_equal(result[:, 0], wanted)
    np.testing.assert_array_equal(images, np.repeat(image, 4, axis=0))


def test_the_loss_of_even_logits_is_the_logarithm_of_the_classes() -> None:
    model = Classifier(TINY, (1, 8, 8), 4)
    torch.nn.init.zeros_(model.top.weight)
    torch.nn.init.zeros_(model.top.bias)
    x = Draw(0).uniform((6, 1, 8, 8))
    classes, _ = cross_entropy(model, (x, torch.arange(6) % 4), Draw(0))
    attributes, _ = cross_entropy(model, (x, torch.ones(6, 4, dtype=torch.uint8)), Draw(0))
    torch.testing.assert_close(classes, torch.tensor(4.0).log())
    torch.testing.assert_close(attributes, torch.tensor(2.0).log())


def test_a_feature_is_of_one_image_alone() -> None:
    """The same image has the same features in any company, while training too."""
    with Draw(0).as_global():
        model = Classifier(TINY, (1, 8, 8), 4).train()
    x = Draw(0).uniform((6, 1, 8, 8))
    # Products of another size may round otherwise: a few float32 units.
    torch.testing.assert_close(model.features(x)[:2], model.features(x[:2]), rtol=1e-5, atol=1e-6)


def test_choose_feature_width() -> None:
    assert choose_feature_width(360) == 32  # digits
    assert choose_feature_width(5_000) == choose_feature_width(10**6) == 128
    previous = 0
    for count in range(4, 3_000):
        width = choose_feature_width(count)
        assert 1 <= width <= min(128, count // 4) and width >= previous
        assert width < 8 or width % 8 == 0
        assert count < 160 or width <= count // 10 or width == 16
        previous = width
    assert choose_feature_width(1) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": ()}, "channels must"),
        ({"channels": (4, 0)}, "channels must"),
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"kernel_size": 0}, "kernel_size must"),
        ({"seed": 1.5}, "seed must"),
        ({"feature_width": 0}, "feature_width must"),
        ({"feature_width": 8.0}, "feature_width must"),
        ({"training_precision": "fp16"}, "training_precision must"),
        ({"target_accuracy": 0.0}, "target_accuracy must"),
        ({"target_accuracy": 1.5}, "target_accuracy must"),
    ],
)
def test_a_config_out_of_range_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassifierConfig(**settings)  # type: ignore[arg-type]
