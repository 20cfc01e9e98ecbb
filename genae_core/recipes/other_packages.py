"""Models of other packages, trained as these packages train them and wrapped for genae's chains.

They are Pythae's VAE and AAE, and an AutoencoderKL of diffusers. Both packages are in the dev
extra. Shapes: N images, C channels, H rows, W columns.
"""

import contextlib
import importlib
import io
import logging
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from genae_core.data.base import Splits
from genae_core.distributions.rng import Draw
from genae_core.models.known_kinds import wrap_autoencoder_kl, wrap_pythae
from genae_core.models.wrapped import WrappedAutoencoder
from genae_core.nets.base import Shape
from genae_core.recipes.options import TrainingOptions
from genae_core.training.batches import Batches

LATENT_DIM = 10  # of Pythae's models
CHANNELS = (8, 16, 16)  # of the AutoencoderKL: 28 x 28 pixels become latents of 7 x 7
KL_WEIGHT = 0.1  # beside half the squared error, both summed over an image


def pythae_model(
    name: str, options: TrainingOptions, splits: Splits, shape: Shape
) -> WrappedAutoencoder:
    """Train a model of Pythae with its default networks, by its own trainer.

    Args:
        name: "VAE" or "Adversarial_AE".
        options: The flags about the training.
        splits: The images.
        shape: The shape of an image, (C, H, W).
    """
    models, trainers, pipelines = (
        importlib.import_module(f"pythae.{part}") for part in ("models", "trainers", "pipelines")
    )
    for logger in list(logging.root.manager.loggerDict):
        if logger.startswith("pythae"):
            logging.getLogger(logger).setLevel(logging.WARNING)  # each sets its level at import
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
    return wrap_pythae(pipeline.model, shape)


def kl_model(options: TrainingOptions, splits: Splits, shape: Shape) -> WrappedAutoencoder:
    """Train an AutoencoderKL of diffusers on the squared error and the KL divergence, by Adam."""
    # A CPU's torch may fail to load torchvision's operators; this import avoids that.
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
    return wrap_autoencoder_kl(model, shape)


Build = Callable[[TrainingOptions, Splits, Shape], WrappedAutoencoder]
MODELS: dict[str, Build] = {
    "Pythae VAE": partial(pythae_model, "VAE"),
    "Pythae AAE": partial(pythae_model, "Adversarial_AE"),
    "diffusers AutoencoderKL": kl_model,
}


def pixels(options: TrainingOptions, splits: Splits) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The training images [N, C, H, W] as the classifier sees them, of zeros and ones."""
    count = min(options.images or len(splits.train.images), len(splits.train.images))
    examples = Batches(splits.train, count, True, torch.device("cpu")).examples()
    return np.asarray(examples.batch(np.arange(count)).x.numpy())
