"""TODO"""

from dataclasses import dataclass
from typing import Literal

from genae_core.config import register, require, require_positive_int


@register("training")
@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long and in what batches; what a step does is the model's to say.

    max_images: train on the first so many images only (None: all).
    num_labelled: of these, use the labels of the first so many only (None: all).
    decay: "linear" takes every learning rate to 0 in equal steps over the training.
    """

    epochs: int
    batch_size: int
    max_images: int | None = None
    num_labelled: int | None = None
    decay: Literal["none", "linear"] = "none"

    def __post_init__(self) -> None:
        require_positive_int(epochs=self.epochs, batch_size=self.batch_size)
        require(self.batch_size >= 2, "batch_size must be >= 2", batch_size=self.batch_size)
        require(
            self.decay in ("none", "linear"), 'decay must be "none" or "linear"', decay=self.decay
        )
        if self.num_labelled is not None:
            require_positive_int(num_labelled=self.num_labelled)
        if self.max_images is not None:
            require_positive_int(max_images=self.max_images)
            fits = self.max_images >= self.batch_size
            require(
                fits,
                f"max_images must be >= batch_size {self.batch_size}",
                max_images=self.max_images,
            )
