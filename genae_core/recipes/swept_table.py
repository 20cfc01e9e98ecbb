"""A table of paper_tables.py that a sweep measures, and what these tables share."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from genae_core.config.home import home
from genae_core.data.base import DataConfig, Splits
from genae_core.data.load import LoadOptions, load_splits
from genae_core.data.mnist import MNISTConfig
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import StudyOptions
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.config import ChainConfig
from genae_core.tracking.mlflow_store import Tracker


class SweptTable(NamedTuple):
    """A table and the sweep that measures it.

    Attributes:
        axes: The axes of the sweep's grid.
        experiment: The experiment of a cell, which has a value for each axis.
        print_rows: It prints the table after the sweep, and returns its rows, which are
            dataclasses. It gets the store, the sweep's name, and the sweep's folder.
    """

    axes: Mapping[str, Sequence[Any]]
    experiment: Callable[[Mapping[str, Any]], Experiment]
    print_rows: Callable[[Tracker, str, Path], Sequence[Any]]


def prior_draws(study: StudyOptions) -> ChainConfig:
    """Draws from the prior, which a table measures if it is about no chain."""
    recipe = dataset_recipe(study)
    return recipe.chain(sampler=Ancestral(), batch_norm="running", record=(0,))


def splits_of(study: StudyOptions, data: DataConfig | None = None) -> Splits:
    """The images of a study, or those of another config of the same dataset."""
    return load_splits(
        data or dataset_recipe(study).data, home(), LoadOptions(shards=study.shards)
    )


def grey_mnist(study: StudyOptions) -> MNISTConfig:
    """MNIST with the pixels of its files: a table may need greys that binarisation would hide."""
    return MNISTConfig(root=str(study.data_root), binarize=False, download=study.download)
