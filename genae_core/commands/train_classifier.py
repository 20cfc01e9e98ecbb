"""Train the FCD's classifier of a dataset, and check what it can measure.

A sweep does the same if genae ships no classifier for the images and none was trained before. With
--classifier shipped, the command measures what the shipped one sees of these images.

  genae train-classifier --dataset mnist --data-root DIR
"""

from dataclasses import dataclass
from typing import Literal

import genae_core as genae
from genae_core import experiment, recipes
from genae_core.config.home import home
from genae_core.experiment.precision_flag import Precision
from genae_core.recipes.options import DataOptions


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions):
    """The flags of this command, which are the flags about data of a study."""

    classifier: Literal["shipped", "train"] | None = "train"
    """Classifier to check: one that is trained if GENAE_HOME does not hold it, or the one that
    comes with genae."""
    precision: Precision = "auto"
    """Precision of the training, as in a sweep: auto chooses the fastest of those that this CPU
    has."""


def main(options: Options) -> int:
    """Train the classifier if it is missing, and print its accuracy, its ruler and its folder.

    Raises ValueError if it is blind.
    """
    recipe = recipes.dataset_recipe(options)
    loading = genae.LoadOptions(
        shards=options.shards, max_rejected=options.max_rejected, budget=options.budget_bytes
    )
    splits = genae.load_splits(recipe.data, home(), loading)
    for note in splits.notes:
        print(f"note: {note}")
    held_out = len(splits.val.images) + len(splits.test.images)
    checked = experiment.sound_classifier(
        recipe.classifier, recipe.data, splits, options.classifier, options.precision
    )
    about = checked.about
    print(
        f"{about['accuracy']:.2%} accurate on {held_out} held-out images ({about['task']}), "
        f"{checked.config.feature_width} features, sha256 {about['sha256']}\n"
        f"ruler:  {checked.ruler.line}\n{checked.folder}"
    )
    return 0
