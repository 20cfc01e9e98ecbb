"""Write the trained classifier of a dataset as the one that genae ships, for a new version of it.

The classifier is trained first if GENAE_HOME does not hold it. A classifier that was shipped once
keeps its folder, because runs name it by its sha256.

  python jobs/ship_classifier.py --dataset mnist --data-root DIR --out FOLDER
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import genae_core as genae
from genae_core import experiment, metrics, recipes
from genae_core.config import require, to_strict_json
from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.config.places import locate_fields
from genae_core.recipes.options import DataOptions


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions):
    """The flags of this job."""

    out: Path
    """Folder of the classifier, which must not exist yet."""

    def __post_init__(self) -> None:
        super().__post_init__()
        locate_fields(self, "out")


def main(options: Options) -> int:
    """Train the classifier if it is missing, write it, and print its description."""
    require(not options.smoke, "a shipped classifier has the full recipe", smoke=options.smoke)
    require(not options.out.exists(), "--out must not exist yet", out=str(options.out))
    recipe = recipes.dataset_recipe(options)
    splits = genae.load_splits(recipe.data, home())
    # It is trained by the recipe itself in fp32, and not by its quick form, so that everyone's
    # computer can repeat it.
    trained = metrics.checked_classifier(
        recipe.classifier,
        data=recipe.data,
        splits=splits,
        folder=home() / "classifiers",
        callbacks=experiment.classifier_callbacks(recipe.data, splits),
    )
    trained.require_sound()
    smoke = recipes.dataset_recipe(replace(options, smoke=True))
    shipped = metrics.write_shipped(
        options.out,
        trained.folder,
        data=recipe.data,
        splits=splits,
        stands_for=[recipe.classifier, smoke.classifier],
    )
    print(to_strict_json(shipped.about))
    return 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
