"""The trainer of Pythae on the layers of a genae model, for the suite "train"."""

import importlib
import io
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from genae_core.data.base import Split

from .cases import PLAIN, Case, build_model


def pythae(case: Case, images: Split) -> Callable[[], None]:
    """A function that trains a VAE of the same layers for one round with the trainer of Pythae."""
    models = importlib.import_module("pythae.models")
    trainers = importlib.import_module("pythae.trainers")
    base = importlib.import_module("pythae.models.nn")
    output = importlib.import_module("pythae.models.base.base_utils").ModelOutput
    ours = build_model(case, PLAIN, "cpu")
    latent_dim = case.model.latent_dim

    class Encoder(base.BaseEncoder):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = ours.encoder

        def forward(self, x: Tensor) -> Any:
            mean, log_var = self.layers(x).chunk(2, 1)
            return output(embedding=mean, log_covariance=log_var)

    class Decoder(base.BaseDecoder):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(ours.decoder, nn.Sigmoid())

        def forward(self, z: Tensor) -> Any:
            return output(reconstruction=self.layers(z))

    config = models.VAEConfig(
        input_dim=case.data.shape, latent_dim=latent_dim, reconstruction_loss="bce"
    )
    model = models.VAE(config, encoder=Encoder(), decoder=Decoder())
    data = (torch.from_numpy(images.images) > 127).float()

    dataset = importlib.import_module("pythae.data.datasets").BaseDataset(
        data, torch.zeros(len(data))
    )
    with tempfile.TemporaryDirectory() as scratch, redirect_stdout(io.StringIO()):
        training = trainers.BaseTrainerConfig(
            output_dir=scratch,  # a step does not write there
            num_epochs=1,
            per_device_train_batch_size=case.batch,
            learning_rate=1e-3,
            no_cuda=True,
        )
        trainer = trainers.BaseTrainer(
            model=model, train_dataset=dataset, training_config=training
        )
        trainer.prepare_training()

    def run() -> None:
        with redirect_stdout(io.StringIO()):
            trainer.train_step(1)

    return run
