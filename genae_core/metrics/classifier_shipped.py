"""The classifiers that genae ships, with which everyone measures by the same ruler.

Each is a checkpoint in the folder `shipped` beside this module, trained once by the dataset's
recipe on the official images. `jobs/ship_classifier.py` makes it.
"""

import importlib.metadata
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from genae_core.config import from_dict, to_dict
from genae_core.data import sealed
from genae_core.data.base import DataConfig, Split, Splits, fingerprint_split
from genae_core.metrics.classifier import ClassifierConfig
from genae_core.training import checkpoint

SHIPPED = Path(__file__).parent / "shipped"


class ShippedClassifier(NamedTuple):
    """A classifier that genae ships.

    Attributes:
        folder: The folder of its checkpoint.
        about: The checkpoint's description (see `write_shipped`).
    """

    folder: Path
    about: dict[str, Any]

    @property
    def config(self) -> ClassifierConfig:
        """The recipe that it was trained by, with the sha256 of its weights."""
        recipe: ClassifierConfig = from_dict(self.about["config"])
        return replace(recipe, weights=self.about["sha256"])

    def stands_for(self, config: ClassifierConfig) -> bool:
        """Whether it is used where an experiment has this recipe: its own, or that of --smoke."""
        width = self.config.feature_width
        if config.feature_width not in (None, width):
            return False
        recipes = [from_dict(values) for values in self.about["stands_for"]]
        return replace(config, feature_width=width) in recipes

    def misfit(self, data: DataConfig) -> str | None:
        """Why it cannot see the images of a dataset of its name, or None."""
        shape, binarize = tuple(self.about["shape"]), self.about["binarize"]
        if data.shape != shape:
            return f"takes images of shape {shape}, and these have the shape {data.shape}"
        if data.binarize != binarize:
            return f"takes {_pixels(binarize)}, and these are {_pixels(data.binarize)}"
        return None

    def has_seen(self, splits: Splits, *names: str) -> bool:
        """Whether these splits of a dataset hold the images and labels that it was made with."""
        return all(
            fingerprint_split(getattr(splits, name)) == self.about["splits"][name]["sha256"]
            for name in names
        )


def _pixels(binarize: bool) -> str:
    return "thresholded pixels" if binarize else "grey pixels"


def shipped_classifier(dataset: str) -> ShippedClassifier | None:
    """The classifier that genae ships for a dataset; None if there is none.

    Raises:
        ValueError: Its files are damaged.
    """
    folder = SHIPPED / dataset
    return _read(folder) if folder.is_dir() else None


def shipped_with(weights: str) -> ShippedClassifier:
    """The shipped classifier whose weights have this sha256 (hex).

    Raises:
        ValueError: There is none, or its files are damaged.
    """
    names = []
    for folder in sorted(SHIPPED.iterdir()):
        shipped = _read(folder)
        if shipped.about["sha256"] == weights:
            return shipped
        names.append(f"{folder.name} {shipped.about['sha256'][:8]}")
    raise ValueError(
        f"this version of genae does not ship the classifier with the sha256 {weights}, it ships "
        f"{', '.join(names)}: use the version that the run or sweep was made with, or train a "
        "classifier with --classifier train, whose FCDs cannot be compared with the earlier ones"
    )


def _read(folder: Path) -> ShippedClassifier:
    path = folder / checkpoint.DESCRIPTION
    try:
        about = sealed.from_text(path.read_bytes(), str(path))
        sealed.check_files(folder, {checkpoint.WEIGHTS: about["sha256"]})
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"the classifier that comes with genae in {folder} cannot be used: {error}. Install "
            "genae again, or give --classifier train"
        ) from None
    return ShippedClassifier(folder, about)


def write_shipped(
    folder: Path,
    trained: Path,
    data: DataConfig,
    splits: Splits,
    stands_for: list[ClassifierConfig],
) -> ShippedClassifier:
    """Write a trained classifier in the form in which genae ships it.

    Args:
        folder: The folder to write, which must not exist yet.
        trained: The folder of the classifier, as `cached_classifier` stores it.
        data: The dataset's config.
        splits: The dataset that it was trained on.
        stands_for: The recipes for which it is used, without feature_width.

    Returns:
        The classifier. Its description is that of the trained one, and also holds whether pixels
        are thresholded, the number of images and the sha256 of each split, the recipes, and how
        it was trained: the seed, the precision, and the versions of genae and torch.

    Raises:
        ValueError: The trained classifier is damaged.
        OSError: The disk fails or is full.
    """
    tensors, about = checkpoint.read(trained)
    recipe: ClassifierConfig = from_dict(about["config"])
    description = {
        **{name: value for name, value in about.items() if name != "sha256"},
        "binarize": data.binarize,
        "splits": {name: _describe_split(getattr(splits, name)) for name in Splits._fields[:3]},
        "stands_for": [
            to_dict(replace(one, feature_width=recipe.feature_width))
            for one in dict.fromkeys(stands_for)
        ],
        "seed": recipe.seed,
        "precision": recipe.training_precision,
        "genae": importlib.metadata.version("genae"),
        "torch": torch.__version__,
    }
    checkpoint.write(folder, tensors, description)
    return _read(folder)


def _describe_split(split: Split) -> dict[str, Any]:
    return {"images": len(split.images), "sha256": fingerprint_split(split)}
