"""Does the chain improve the samples of other packages' models?

The models are Pythae's VAE and AAE, which Pythae's own trainer trains, and an AutoencoderKL of
diffusers, which is trained here on its published loss without the critic. Each is wrapped by
`genae_core.models.wrapped`. Its chains start from N(0, I), and from a Gaussian mixture fitted to
its codes. The study needs the packages of the dev extra.

  python sweeps/other_models.py --data-root DIR --json table.json
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import genae_core as genae
from genae_core import data, experiment, metrics, priors, recipes, sweep
from genae_core.config import require, require_positive_int, to_strict_json
from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.config.places import locate_fields
from genae_core.recipes.options import DataOptions, TrainingOptions
from genae_core.sweep.options import ClassifierOptions

RECORD = (0, 1, 2, 5, 10, 20)


@dataclass(frozen=True, kw_only=True)
class Options(ClassifierOptions, TrainingOptions):
    """The flags of this study."""

    data_root: str
    """Folder or URI of MNIST's official files."""
    samples: int = 4_000
    """Number of chains for each chain config."""
    json: Path | None = None
    """JSON file for the curves (default: none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        locate_fields(self, "data_root", "json")
        require_positive_int(samples=self.samples)
        if self.json is not None:
            folder = self.json.parent
            require(folder.is_dir(), f"--json: there is no folder {folder}", json=str(self.json))

    def announcement(self) -> str:
        """What the study is about to do."""
        return "training and sampling models of other packages. First, PyTorch is loaded ..."


def main(options: Options) -> int:
    """Train, wrap, sample and compare each of the models."""
    recipe = recipes.dataset_recipe(DataOptions(dataset="mnist", data_root=options.data_root))
    splits = genae.load_splits(recipe.data, home())
    checked = experiment.sound_classifier(
        recipe.classifier, recipe.data, splits, options.classifier
    )
    classifier = metrics.load_classifier(checked.folder)
    print(f"classifier {checked.name}\nruler:  {checked.ruler.line}", flush=True)
    half = min(len(splits.val.images), len(splits.test.images))
    chain = genae.ChainConfig(
        sampler=genae.EncodeDecode(),
        record=RECORD,
        num_chains=min(options.samples, 2 * half),
        batch_norm="running",
    )
    chains = (chain, replace(chain, fitted_prior=priors.ExPostMixture()))
    results = dict(recipes.sample_models(options, splits, recipe.data.shape, classifier, chains))
    floor = next(iter(results.values()))[0].floor
    print(f"\n{recipes.results_table(results)}")
    print(f"real images: {floor:.1f}\nruler: {checked.ruler.line}")
    if options.json is not None:
        curves: dict[str, Any] = {}
        for name, chain_results in results.items():
            curves[name] = {
                sweep.chain_label(result.config): {"fcd": result.fcd, **result.curves}
                for result in chain_results
            }
        text = to_strict_json({**curves, "floor": floor, "ruler": checked.ruler.line})
        data.Folder(options.json.parent).write(options.json.name, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
