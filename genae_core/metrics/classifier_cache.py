"""The trained classifiers on disk: each recipe is trained once for each dataset."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genae_core.config import from_dict, identity, to_dict
from genae_core.data.base import DataConfig, Split, Splits, fingerprint
from genae_core.metrics.classifier import Classifier, ClassifierConfig, choose_feature_width
from genae_core.metrics.classifier_task import task_name, task_split
from genae_core.metrics.classifier_training import accuracy, train_classifier
from genae_core.training import checkpoint

# The version of the classifier's recipe. Increase it if the same config would train other weights.
VERSION = 1


def recipe_key(config: ClassifierConfig, data: str, binarize: bool) -> str:
    """The sha256 of what decides the weights: the recipe, the data's sha256, and `binarize`."""
    recipe = [VERSION, identity(config), data, binarize]
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def cached_classifier(
    config: ClassifierConfig,
    data: DataConfig,
    splits: Splits,
    folder: Path,
    device: torch.device | str = "cpu",
    on_train: Callable[[], None] = lambda: None,
) -> tuple[Path, dict[str, Any]]:
    """Find the trained classifier of a recipe and a dataset, or train and store it.

    Args:
        config: The recipe; `choose_feature_width` chooses a feature_width of None.
        data: The dataset's config, which gives its name and whether pixels are thresholded.
        splits: The dataset.
        folder: The folder of all classifiers.
        device: The device of the training.
        on_train: Called before a training.

    Returns:
        The classifier's folder, and its description: among others the dataset, the sha256 of data,
        recipe and weights, the task, and the accuracy on the held-out images.

    Raises:
        ValueError: The stored classifier is broken.
    """
    if config.feature_width is None:
        half = min(len(splits.val.images), len(splits.test.images))
        config = replace(config, feature_width=choose_feature_width(half))
    data_sha256 = splits.sha256 or fingerprint(splits)
    key = recipe_key(config, data_sha256, data.binarize)
    home = folder / f"{data.name}-{key[:16]}"
    if not home.is_dir():
        on_train()
        model = train_classifier(config, splits, data.binarize, device)
        origin = {"dataset": data.name, "data": data_sha256, "recipe": key}
        about = _description(model, splits, data.binarize)
        checkpoint.write(home, model.state_dict(), {**origin, **about})
    return home, checkpoint.read(home)[1]


def _description(model: Classifier, splits: Splits, binarize: bool) -> dict[str, Any]:
    """What a classifier's checkpoint says about its architecture, task and accuracy."""
    val, test = task_split(splits, splits.val), task_split(splits, splits.test)
    held_out = Split(
        np.concatenate([val.images, test.images]), np.concatenate([val.labels, test.labels])
    )
    return {
        "config": to_dict(model.config),
        "shape": list(splits.train.images.shape[1:]),
        "num_outputs": model.top.out_features,
        "task": task_name(splits),
        "accuracy": accuracy(model, held_out, binarize),
    }


def load_classifier(folder: Path, device: torch.device | str = "cpu") -> Classifier:
    """Load a classifier that `cached_classifier` stored.

    Args:
        folder: The classifier's folder.
        device: The device to load it to.

    Returns:
        The classifier in evaluation mode.

    Raises:
        ValueError: A file is missing or broken.
    """
    tensors, about = checkpoint.read(folder)
    model = Classifier(from_dict(about["config"]), tuple(about["shape"]), about["num_outputs"])
    model.load_state_dict(tensors)
    return model.to(device).eval()
