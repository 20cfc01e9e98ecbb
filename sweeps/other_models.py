"""Does the chain improve the samples of other packages' models?

Pythae's VAE and AAE, trained by Pythae's own trainer, and an AutoencoderKL of diffusers, trained
here on its published loss without the critic, all as these packages make them. Each is wrapped
(`genae_core.models.wrapped`) and sampled from N(0, I), and from a Gaussian mixture fitted to its
codes, along the chain. Needs the packages of the dev extra.

  python sweeps/other_models.py --data-root DIR --json table.json
"""

import contextlib
import importlib
import io
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from genae_core.config import require, require_positive_int, to_strict_json
from genae_core.config.cli import cli
from genae_core.config.home import home
from genae_core.data.base import Splits
from genae_core.data.load import load_splits
from genae_core.data.storage import Folder
from genae_core.distributions.rng import Draw
from genae_core.evaluation.chains import ChainResult, evaluate
from genae_core.metrics.classifier import cached_classifier, load_classifier
from genae_core.models.wrapped import Wrapped, wrap
from genae_core.nets.base import Shape
from genae_core.priors.ex_post import ExPostMixture
from genae_core.recipes.recipes import DataOptions, recipe
from genae_core.report.tables import align_columns
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.sweep.runs import chain_label
from genae_core.training.batches import Batches

RECORD = (0, 1, 2, 5, 10, 20)
LATENT_DIM = 10  # of Pythae's
CHANNELS = (8, 16, 16)  # of the AutoencoderKL: 28 x 28 pixels become latents of 7 x 7
KL_WEIGHT = 0.1  # beside half the squared error, both summed over an image


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this study."""

    data_root: str
    """Folder or URI of MNIST's official files."""
    epochs: int = 8
    """Passes over the training images."""
    images: int | None = None
    """Of them, the first so many (default: all)."""
    samples: int = 4_000
    """Chains of each setting."""
    seed: int = 0
    """Of the weights and the training."""
    json: Path | None = None
    """File for the curves."""

    def __post_init__(self) -> None:
        require_positive_int(epochs=self.epochs, samples=self.samples)
        if self.images is not None:
            require_positive_int(images=self.images)
        if self.json is not None:
            folder = self.json.absolute().parent
            require(folder.is_dir(), "--json: there is no such folder", json=str(self.json))


def pythae_model(name: str, options: Options, splits: Splits, shape: Shape) -> Wrapped:
    """ "VAE" or "Adversarial_AE" of Pythae with its default networks, by its own trainer."""
    models, trainers, pipelines = (
        importlib.import_module(f"pythae.{part}") for part in ("models", "trainers", "pipelines")
    )
    for logger in [name for name in logging.root.manager.loggerDict if name.startswith("pythae")]:
        logging.getLogger(logger).setLevel(logging.WARNING)  # each sets its own when imported
    kind = "Adversarial" if "_" in name else "Base"
    with tempfile.TemporaryDirectory() as scratch, Draw(options.seed, name).as_global():
        config = getattr(models, f"{name}_Config" if "_" in name else f"{name}Config")
        model = getattr(models, name)(config(input_dim=shape, latent_dim=LATENT_DIM))
        training = getattr(trainers, f"{kind}TrainerConfig")(
            output_dir=scratch,
            num_epochs=options.epochs,
            per_device_train_batch_size=200,
            learning_rate=1e-3,
            no_cuda=True,
            seed=options.seed,
        )
        pipeline = pipelines.TrainingPipeline(model=model, training_config=training)
        with contextlib.redirect_stdout(io.StringIO()):
            pipeline(train_data=pixels(options, splits))
    trained = pipeline.model

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        found = trained.encoder(x)
        return found.embedding, found.log_covariance

    def decode(z: Tensor) -> Tensor:
        images: Tensor = trained.decoder(z).reconstruction
        return images

    return wrap(trained, encode, decode, latent_dim=LATENT_DIM, shape=shape)


def kl_model(options: Options, splits: Splits, shape: Shape) -> Wrapped:
    """An AutoencoderKL built from a config; squared error and KL, by Adam."""
    # Where the CPU's torch cannot load torchvision's operators, it is imported with care first.
    importlib.import_module("genae_core.data.torchvision_import").torchvision_datasets()
    package: Any = importlib.import_module("diffusers")
    draw = Draw(options.seed, "kl")
    with draw.as_global():
        model = package.AutoencoderKL(
            in_channels=shape[0],
            out_channels=shape[0],
            latent_channels=1,
            down_block_types=("DownEncoderBlock2D",) * len(CHANNELS),
            up_block_types=("UpDecoderBlock2D",) * len(CHANNELS),
            block_out_channels=CHANNELS,
            norm_num_groups=4,
            sample_size=shape[1],
        )
        x = torch.from_numpy(pixels(options, splits))
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(options.epochs):
            for rows in torch.split(draw.permutation(len(x)), 100):
                batch = 2 * x[rows] - 1
                posterior = model.encode(batch).latent_dist
                error = (
                    (model.decode(posterior.sample()).sample - batch).square().flatten(1).sum(1)
                )
                loss = (error / 2 + KL_WEIGHT * posterior.kl()).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    side = shape[1] // 2 ** (len(CHANNELS) - 1)

    def encode(images: Tensor) -> tuple[Tensor, Tensor]:
        posterior = model.encode(2 * images - 1).latent_dist
        return posterior.mean.flatten(1), posterior.logvar.flatten(1)

    def decode(z: Tensor) -> Tensor:
        images: Tensor = model.decode(z.reshape(-1, 1, side, side)).sample
        return (images / 2 + 0.5).clamp(0, 1)

    return wrap(model, encode, decode, latent_dim=side * side, shape=shape)


Build = Callable[[Options, Splits, Shape], Wrapped]
MODELS: dict[str, Build] = {
    "Pythae VAE": lambda *given: pythae_model("VAE", *given),
    "Pythae AAE": lambda *given: pythae_model("Adversarial_AE", *given),
    "diffusers AutoencoderKL": kl_model,
}


def pixels(options: Options, splits: Splits) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The training images [N, C, H, W] as the classifier sees them, 0 or 1."""
    count = min(options.images or len(splits.train.images), len(splits.train.images))
    examples = Batches(splits.train, count, True, torch.device("cpu")).examples()
    return np.asarray(examples.batch(np.arange(count)).x.numpy())


def rows_of(name: str, found: list[ChainResult]) -> list[list[str]]:
    """The FCD with its standard error at each step, and whether the chain improved it."""
    rows = []
    for chain in found:
        values = [
            f"{value:.1f} ± {error:.1f}"
            for value, error in zip(chain.fcd, chain.curves["fcd_se"], strict=True)
        ]
        rows.append([name, chain_label(chain.config), *values, verdict(chain)])
    return rows


def verdict(chain: ChainResult) -> str:
    """In words: the step chosen on validation against step 0, on test, by their errors."""
    best = int(np.argmin(chain.fcd_val))
    errors = chain.curves["fcd_se"]
    gain = chain.fcd[0] - chain.fcd[best]
    if gain > 2 * float(np.hypot(errors[0], errors[best])):
        return f"improved, step {chain.config.record[best]}"
    return "not improved"


def main(options: Options) -> int:
    """Train, wrap, sample and compare each of them."""
    parts = recipe(DataOptions(dataset="mnist", data_root=options.data_root))
    splits = load_splits(parts.data, home())
    half = min(len(splits.val.images), len(splits.test.images))
    folder, about = cached_classifier(
        parts.classifier,
        parts.data.name,
        splits,
        True,
        home() / "classifiers",
        on_train=lambda: print("training the FCD's classifier, once ...", flush=True),
    )
    classifier = load_classifier(folder)
    accuracy = f"{about['accuracy']:.2%} accurate on held-out images"
    print(f"classifier {folder.name}: {accuracy}", flush=True)
    chains = [
        ChainConfig(
            sampler=EncodeDecode(),
            record=RECORD,
            fitted_prior=fitted_prior,
            num_chains=min(options.samples, 2 * half),
            batch_norm="running",
        )
        for fitted_prior in (None, ExPostMixture())
    ]
    rows = [["model", "chain", *(f"step {step}" for step in RECORD), "the chain"]]
    told: dict[str, Any] = {}
    for name, build in tqdm(MODELS.items(), unit=" models", disable=None):
        began = time.perf_counter()
        model = build(options, splits, parts.data.shape)
        trained = time.perf_counter()
        found = [evaluate(model, chain, splits, classifier, True) for chain in chains]
        rows += rows_of(name, found)
        told[name] = {chain_label(f.config): {"fcd": f.fcd, **f.curves} for f in found}
        seconds = (trained - began, time.perf_counter() - trained)
        print(f"{name}: {seconds[0]:.0f} s to train, {seconds[1]:.0f} s to evaluate", flush=True)
    print(f"\n{align_columns(rows)}\nreal images: {found[0].floor:.1f}")
    if options.json is not None:
        told["floor"] = found[0].floor
        text = to_strict_json(told)
        Folder(options.json.absolute().parent).write(options.json.name, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
