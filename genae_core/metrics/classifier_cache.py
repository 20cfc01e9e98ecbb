"""The trained classifiers on disk: each recipe is trained once for each dataset, and checked."""

import hashlib
import json
from collections.abc import Callable, Container
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from genae_core.config import from_dict, identity, require, to_dict
from genae_core.config.make_once import make_alone
from genae_core.data.base import DataConfig, Splits, fingerprint
from genae_core.metrics.classifier import (
    Classifier,
    ClassifierConfig,
    TrainingPrecision,
    choose_feature_width,
    quicken,
    resolve_feature_width,
    strengthen,
    trained_recipes,
)
from genae_core.metrics.classifier_shipped import SHIPPED, shipped_with
from genae_core.metrics.classifier_training import OnBatch, train_classifier
from genae_core.metrics.ruler import Ruler, measure_ruler
from genae_core.training import checkpoint

# The version of the classifier's recipe. Increase it if the same config would train other weights.
VERSION = 1


@dataclass(frozen=True)
class ClassifierCallbacks:
    """The functions that are called where a classifier is found or trained.

    Attributes:
        say: Is called with a message for people.
        choose_precision: Returns the precision in which the classifier of a recipe is trained.
        show_training: Is called with the name of the dataset, and entered around a training. What
            it yields is called before each batch (see `train_classifier`).
    """

    say: Callable[[str], None] = lambda _: None
    choose_precision: Callable[[ClassifierConfig], TrainingPrecision] = lambda _: "fp32"
    show_training: Callable[[str], AbstractContextManager[OnBatch]] = lambda _: SILENCE


SILENCE: AbstractContextManager[OnBatch] = nullcontext(lambda *_: None)
NO_CALLBACKS = ClassifierCallbacks()


class CheckedClassifier(NamedTuple):
    """A trained classifier, and what it can measure.

    Attributes:
        folder: The classifier's folder.
        about: Its description (see `cached_classifier`).
        config: The recipe that it was trained by.
        ruler: What it can measure.
        before: What the classifier of the first recipe can measure, if that one was blind and
            this one is the second attempt.
    """

    folder: Path
    about: dict[str, Any]
    config: ClassifierConfig
    ruler: Ruler
    before: Ruler | None = None

    @property
    def name(self) -> str:
        """Its dataset, the first digits of its weights' sha256, and where it comes from."""
        origin = "trained" if self.config.weights is None else "shipped with genae"
        return f"{self.about['dataset']} {self.about['sha256'][:8]} ({origin})"

    def require_sound(self) -> None:
        """Raise ValueError with all figures and the remedies if the ruler is blind."""
        if not self.ruler.is_blind:
            return
        attempts = [self.ruler] if self.before is None else [self.before, self.ruler]
        figures = "".join(
            f"\n  attempt {number}: {ruler.line}" for number, ruler in enumerate(attempts, 1)
        )
        classes = ""
        if self.ruler.task == "classes":
            classes = (
                ", or fewer classes with more images each. If the classes have few images each, "
                "put all images into one folder: without classes, the classifier learns by how "
                "much an image is turned"
            )
        other = "change the classifier's training with --classifier-epochs and --classifier-width"
        if self.config.weights is not None:
            other = "train a classifier on these images with --classifier train"
        raise ValueError(
            f"the classifier of {self.about['dataset']} cannot measure samples, so an FCD would "
            f"mean nothing:{figures}\nUse more images that differ{classes}. Or {other}."
        )


def recipe_key(config: ClassifierConfig, data: str, binarize: bool) -> str:
    """The sha256 of what decides the weights: the recipe, the data's sha256, and `binarize`."""
    recipe = [VERSION, identity(config), data, binarize]
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def checked_classifier(
    config: ClassifierConfig,
    data: DataConfig,
    splits: Splits,
    folder: Path,
    retrain: bool = True,
    callbacks: ClassifierCallbacks = NO_CALLBACKS,
) -> CheckedClassifier:
    """Find or train the classifier of a dataset, and try `strengthen` once if it is blind.

    The second recipe depends on the first recipe and the data alone, so a sweep that is repeated
    uses the same classifier. A classifier that genae ships is never trained again.

    Args:
        config: The recipe; `choose_feature_width` chooses a feature_width of None.
        data: The dataset's config.
        splits: The dataset.
        folder: The folder of all classifiers.
        retrain: Whether to try the second recipe.
        callbacks: The functions that are called before and during each training.

    Returns:
        The classifier with its ruler, which may be blind.

    Raises:
        ValueError: The stored classifier is broken, or the recipe has too many features.
    """

    def start() -> AbstractContextManager[OnBatch]:
        callbacks.say(f"training the FCD's classifier of {data.name}, once ...")
        return callbacks.show_training(data.name)

    def check(recipe: ClassifierConfig) -> CheckedClassifier:
        home, about = cached_classifier(
            recipe, data=data, splits=splits, folder=folder, on_train=start
        )
        used = replace(from_dict(about["config"]), weights=recipe.weights)
        return CheckedClassifier(home, about, used, Ruler(**about["ruler"]))

    half = min(len(splits.val.images), len(splits.test.images))
    # A recipe that is kept was checked when it was chosen.
    first = check(resolve_feature_width(config, half) if retrain else config)
    if not (first.ruler.is_blind and retrain) or config.weights is not None:
        return first
    stronger = strengthen(first.config, half)
    callbacks.say(
        f"the classifier is blind: {'; '.join(first.ruler.faults)}. It is trained once more, with "
        f"{stronger.training.epochs} instead of {first.config.training.epochs} epochs and "
        f"{stronger.feature_width} instead of {first.config.feature_width} features"
    )
    return check(stronger)._replace(before=first.ruler)


def cached_classifier(
    config: ClassifierConfig,
    data: DataConfig,
    splits: Splits,
    folder: Path,
    device: torch.device | str = "cpu",
    on_train: Callable[[], AbstractContextManager[OnBatch]] = lambda: SILENCE,
) -> tuple[Path, dict[str, Any]]:
    """Find the trained classifier of a recipe and a dataset, or train and store it.

    If several processes need it, one of them trains it, and the others wait. A recipe with the
    weights of a shipped classifier is not trained.

    Args:
        config: The recipe; `choose_feature_width` chooses a feature_width of None.
        data: The dataset's config, which gives its name and whether pixels are thresholded.
        splits: The dataset.
        folder: The folder of all classifiers.
        device: The device of the training.
        on_train: Called before a training. What it returns is entered around it, and yields a
            function that is called before each batch (see `train_classifier`).

    Returns:
        The classifier's folder, and its description: among others the dataset, the sha256 of data,
        recipe and weights, the task, the accuracy on the held-out images, and the figures of its
        `Ruler`. A classifier that an earlier version stored without them is measured now.

    Raises:
        ValueError: The stored classifier is damaged, or is of another recipe; or no shipped one
            has the weights.
    """
    if config.weights is not None:
        return _shipped_classifier(config.weights, data, splits)
    config, origin = _origin(config, data, splits)
    home = folder / f"{data.name}-{origin['recipe'][:16]}"
    if not home.is_dir():
        with make_alone(home):
            if not home.is_dir():
                with on_train() as on_batch:
                    model = train_classifier(config, splits, data.binarize, device, on_batch)
                about = _description(model, splits, data.binarize)
                checkpoint.write(home, model.state_dict(), {**origin, **about})
    try:
        about = checkpoint.read(home)[1]
        _check_description(about, origin)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(home, error) from None
    if about.get("ruler", {}).keys() != set(Ruler._fields):
        ruler = measure_ruler(load_classifier(home, device), splits, data.binarize)
        about["ruler"] = ruler._asdict()
    return home, about


def trained_folder(
    config: ClassifierConfig, data: DataConfig, splits: Splits, folder: Path
) -> Path:
    """The folder in which `cached_classifier` stores the classifier that it trains."""
    _, origin = _origin(replace(config, weights=None), data, splits)
    return folder / f"{data.name}-{origin['recipe'][:16]}"


def quick_recipe(
    config: ClassifierConfig,
    data: DataConfig,
    splits: Splits,
    folder: Path,
    choose_precision: Callable[[ClassifierConfig], TrainingPrecision],
) -> ClassifierConfig:
    """The recipe of a classifier that the folder holds, or by which one is trained.

    A classifier that the folder holds is used as it is, because FCDs of another one could not be
    compared with those that it measured: one of `config` itself, by which versions of genae until
    now trained, or a quick one, in whichever precision it was trained.

    Args:
        config: The recipe of an experiment.
        data: The dataset's config.
        splits: The dataset.
        folder: The folder of all classifiers.
        choose_precision: Returns the precision in which the classifier of a recipe is trained.
    """
    if config.target_accuracy is not None:
        return config
    for recipe in trained_recipes(config):
        if trained_folder(recipe, data, splits, folder).is_dir():
            return recipe
    return quicken(config, choose_precision(config))


def recipe_of_key(
    config: ClassifierConfig, data: DataConfig, splits: Splits, keys: Container[str]
) -> ClassifierConfig | None:
    """The recipe for `config` whose `recipe_key` is one of these: itself, or a quick one."""
    recipes = trained_recipes(config)
    return next((one for one in recipes if _origin(one, data, splits)[1]["recipe"] in keys), None)


def _origin(
    config: ClassifierConfig, data: DataConfig, splits: Splits
) -> tuple[ClassifierConfig, dict[str, str]]:
    """The recipe with a feature_width, and what a trained classifier is found by."""
    if config.feature_width is None:
        half = min(len(splits.val.images), len(splits.test.images))
        config = replace(config, feature_width=choose_feature_width(half))
    data_sha256 = splits.sha256 or fingerprint(splits)
    key = recipe_key(config, data_sha256, data.binarize)
    return config, {"dataset": data.name, "data": data_sha256, "recipe": key}


def _shipped_classifier(
    weights: str, data: DataConfig, splits: Splits
) -> tuple[Path, dict[str, Any]]:
    """The shipped classifier with these weights, described for these images.

    Its ruler is measured if they are not those that it was made with.
    """
    shipped = shipped_with(weights)
    name, misfit = shipped.about["dataset"], shipped.misfit(data)
    if name != data.name or misfit is not None:
        raise ValueError(
            f"the shipped classifier {weights[:8]} of {name} cannot measure {data.name}: it "
            f"{misfit or 'knows other classes'}"
        )
    about = {**shipped.about, "data": splits.sha256 or fingerprint(splits)}
    if not shipped.has_seen(splits, "train", "val", "test"):
        ruler = measure_ruler(load_classifier(shipped.folder), splits, data.binarize)
        about |= {"accuracy": ruler.accuracy, "ruler": ruler._asdict()}
    return shipped.folder, about


def _check_description(about: dict[str, Any], origin: dict[str, str]) -> None:
    """Raise an error if a description lacks a value, or is of another origin."""
    for name, value in origin.items():
        require(about.get(name) == value, f"{name} must be {value}", **{name: about.get(name)})
    accuracy = about.get("accuracy")
    is_fraction = isinstance(accuracy, float | int) and 0 <= accuracy <= 1
    require(is_fraction, "accuracy must be in [0, 1]", accuracy=accuracy)
    for name, kind in {"task": str, "config": dict}.items():
        require(isinstance(about.get(name), kind), f"{name} is missing or of another type")
    require(isinstance(from_dict(about["config"]), ClassifierConfig), "config is another one")
    ruler = about.get("ruler", {})
    require(isinstance(ruler, dict), "ruler must hold figures", ruler=ruler)


def _damaged(folder: Path, error: Exception) -> ValueError:
    """The error of a stored classifier that cannot be used."""
    remedy = "delete this folder, and the classifier is trained again"
    if folder.is_relative_to(SHIPPED):
        remedy = "it comes with genae: install genae again, or give --classifier train"
    return ValueError(f"the classifier in {folder} is damaged: {error}; {remedy}")


def _description(model: Classifier, splits: Splits, binarize: bool) -> dict[str, Any]:
    """What a classifier's checkpoint says about its architecture, and about what it measures."""
    ruler = measure_ruler(model, splits, binarize)
    return {
        "config": to_dict(model.config),
        "shape": list(splits.train.images.shape[1:]),
        "num_outputs": model.top.out_features,
        "task": ruler.task,
        "accuracy": ruler.accuracy,
        "ruler": ruler._asdict(),
    }


def load_classifier(folder: Path, device: torch.device | str = "cpu") -> Classifier:
    """Load a classifier that `cached_classifier` stored or found.

    Args:
        folder: The classifier's folder.
        device: The device to load it to.

    Returns:
        The classifier in evaluation mode.

    Raises:
        ValueError: A file is missing or broken.
    """
    try:
        tensors, about = checkpoint.read(folder)
        model = Classifier(from_dict(about["config"]), tuple(about["shape"]), about["num_outputs"])
        model.load_state_dict(tensors)
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise _damaged(folder, error) from None
    return model.to(device).eval()
