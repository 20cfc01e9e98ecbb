"""Train the FCD's classifier of a dataset before any sweep needs it; a sweep does it itself when
it is missing.

  python jobs/train_classifier.py --dataset mnist --data-root DIR
"""

import sys
from dataclasses import dataclass

from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.data.load import load_splits
from genae_core.metrics.classifier import cached_classifier
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import DataOptions


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions):
    """The flags of this job: a study's flags about its data."""


def main(options: Options) -> int:
    """Train it, or find it, and say where it is and how well it does."""
    parts = dataset_recipe(options)
    splits = load_splits(
        parts.data,
        home(),
        options.shards,
        options.max_rejected,
        options.budget_bytes,
    )
    for note in splits.notes:
        print(f"note: {note}")
    held_out = len(splits.val.images) + len(splits.test.images)
    folder, about = cached_classifier(
        parts.classifier,
        parts.data.name,
        splits,
        parts.data.binarize,
        home() / "classifiers",
        on_train=lambda: print(f"training on {len(splits.train.images)} images ...", flush=True),
    )
    print(
        f"{about['accuracy']:.2%} accurate on {held_out} held-out images ({about['task']}), "
        f"{about['config']['feature_width']} features, sha256 {about['sha256']}\n{folder}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
