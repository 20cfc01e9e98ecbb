"""Which classifier measures: the one that genae ships for a dataset, or one that is trained.

The choice depends on the flags and the images alone, and not on what GENAE_HOME holds, so that
the same command measures with the same classifier everywhere.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from genae_core.data import sealed
from genae_core.data.base import DataConfig, Splits
from genae_core.metrics.classifier import ClassifierConfig, trained_recipes
from genae_core.metrics.classifier_cache import (
    NO_CALLBACKS,
    CheckedClassifier,
    ClassifierCallbacks,
    checked_classifier,
    quick_recipe,
    trained_folder,
)
from genae_core.metrics.classifier_shipped import ShippedClassifier, shipped_classifier
from genae_core.training.checkpoint import WEIGHTS


def find_classifier(
    config: ClassifierConfig,
    data: DataConfig,
    splits: Splits,
    folder: Path,
    choice: Literal["shipped", "train"] | None = None,
    callbacks: ClassifierCallbacks = NO_CALLBACKS,
) -> CheckedClassifier:
    """Choose the classifier of a dataset, and read or train it (see `checked_classifier`).

    It is trained by the quick form of the recipe (see `quicken`), unless the folder holds a
    classifier that an earlier version of genae has trained by the recipe itself.

    Without a choice, the shipped classifier is used if it stands for the recipe and was made with
    the same images in val and test, and pixels are thresholded alike.

    Args:
        config: The recipe of the experiment.
        data: The dataset's config.
        splits: The dataset.
        folder: The folder of all trained classifiers.
        choice: The flag --classifier.
        callbacks: The functions that are called before and during each training; messages also
            say that both kinds of classifiers are at hand, or that a shipped one is not used.

    Returns:
        The classifier with its ruler, which may be blind.

    Raises:
        ValueError: The shipped classifier is chosen, and there is none for these images; the
            classifier is damaged; or the recipe has too many features.
    """
    recipe = _choose(config, data, splits, folder, choice, callbacks.say)
    if recipe.weights is None:
        recipe = quick_recipe(recipe, data, splits, folder, callbacks.choose_precision)
    return checked_classifier(recipe, data, splits, folder, callbacks=callbacks)


def _choose(
    config: ClassifierConfig,
    data: DataConfig,
    splits: Splits,
    folder: Path,
    choice: Literal["shipped", "train"] | None,
    say: Callable[[str], None],
) -> ClassifierConfig:
    """The recipe, with the sha256 of the weights if it is a shipped classifier."""
    if choice == "train":
        return replace(config, weights=None)
    if choice is None and config.weights is not None:
        return config
    shipped = shipped_classifier(data.name)
    if choice == "shipped":
        return _require_shipped(shipped, data, splits, say)
    if shipped is None or not shipped.stands_for(config):
        return config
    misfit = shipped.misfit(data)
    if misfit is None and not shipped.has_seen(splits, "val", "test"):
        misfit = "was made with other images in val and test; --classifier shipped uses it anyway"
    if misfit is not None:
        say(f"note: the classifier that genae ships for {data.name} {misfit}")
        return config
    for recipe in trained_recipes(config):
        trained = trained_folder(recipe, data, splits, folder)
        weights = trained / WEIGHTS
        if weights.is_file() and sealed.sha256_of(weights) != shipped.about["sha256"]:
            say(
                f"note: {trained} holds another classifier of these images. --classifier train "
                "uses it. Its FCDs cannot be compared with those of the classifier that genae "
                "ships"
            )
            break
    return shipped.config


def _require_shipped(
    shipped: ShippedClassifier | None,
    data: DataConfig,
    splits: Splits,
    say: Callable[[str], None],
) -> ClassifierConfig:
    """The shipped classifier. Raises ValueError if it cannot see these images."""
    if shipped is None:
        raise ValueError(
            f"--classifier shipped: genae ships no classifier for {data.name}: leave the flag out"
        )
    misfit = shipped.misfit(data)
    if misfit is not None:
        raise ValueError(
            f"--classifier shipped: the classifier that genae ships for {data.name} {misfit}: "
            "leave the flag out"
        )
    if not shipped.has_seen(splits, "val", "test"):
        say(
            f"note: the classifier that genae ships for {data.name} was made with other images in "
            "val and test, so these FCDs can be compared with each other only"
        )
    return shipped.config
