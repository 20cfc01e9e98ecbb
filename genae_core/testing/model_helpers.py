"""The attributes of a family's tests, and the methods that build and train its model."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.models.base import (
    Autoencoder,
    Batch,
    Examples,
    GenerativeModel,
    Phase,
    Stage,
)
from genae_core.models.config import ModelConfig
from genae_core.testing.toys import images as toy_images
from genae_core.training.config import TrainingConfig
from genae_core.training.curve import Point
from genae_core.training.loop import fit

NUM_IMAGES, BATCH = 64, 16


class ModelHelpers:
    """The attributes of `ModelContract`, which explains them, and methods that its tests call."""

    config: ModelConfig
    shape: tuple[int, int, int] = (1, 8, 8)
    noise: float = 0.0
    epochs: int = 8
    size_field: str = "latent_dim"
    without_gradient: tuple[str, ...] = ()
    waits_for_gpu: bool = False

    def build(self, seed: int = 0) -> GenerativeModel:
        """An untrained model."""
        with Draw(seed, "model").as_global():
            return self.config.build(self.shape)

    def autoencoder(self) -> Autoencoder:
        """An untrained model with an encoder; the test is skipped for a family without one."""
        model = self.build()
        if not isinstance(model, Autoencoder):
            pytest.skip("a model without an encoder")
        return model

    def images(self, count: int = NUM_IMAGES) -> Tensor:
        """Toy images, [N, C, H, W]."""
        return toy_images(count, self.shape)

    def labels(self, count: int = NUM_IMAGES) -> Tensor:
        """The pattern of each toy image as its class, int64 [N]; every third label is hidden."""
        rows = torch.arange(count)
        return torch.where(rows % 3 == 0, -1, rows % 4)

    def examples(self, images: Tensor) -> Examples:
        """The images with their labels, for a training."""
        labels = self.labels(len(images))

        def batch(index: NDArray[np.int64]) -> Batch:
            rows = torch.from_numpy(index)
            return Batch(images[rows], labels[rows])

        return Examples(len(images), batch)

    def train(
        self,
        model: GenerativeModel,
        stages: tuple[Stage, ...],
        epochs: int,
        images: Tensor | None = None,
        seed: int = 0,
    ) -> list[Point]:
        """Train the model on images, by default toy images, and return its loss curve."""
        examples = self.examples(self.images() if images is None else images)
        config = TrainingConfig(epochs=epochs, batch_size=BATCH)
        draw = Draw(seed, "training")
        return fit(model, stages, examples, config=config, draw=draw).history

    def phases(self, model: GenerativeModel) -> list[Phase]:
        """The phases of all stages, in order."""
        return [phase for stage in model.stages() for phase in stage.phases]

    def batch(self, stage: Stage, model: GenerativeModel) -> Batch:
        """A batch for the stage's losses: toy images, or their codes if the stage trains on
        codes."""
        examples = self.examples(self.images(BATCH))
        if stage.inputs is not None:
            examples = stage.inputs(model, examples, Draw(0))
            model.train()
        batch: Batch = examples.batch(np.arange(BATCH))
        return batch
