"""The config of a training: its length and its batches."""

from dataclasses import dataclass
from typing import Literal

from genae_core.config import register, require, require_positive_int


@register("training")
@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long and on which examples a model is trained. The phases are part of the model.

    Args:
        epochs: The number of epochs of each stage that does not set its own number.
        batch_size: The number of images in a batch, at least 2.
        max_images: The number of images that the model is trained on, the first ones of the split.
            None takes all.
        num_labelled: The number of these images, the first ones, whose labels are used. None uses
            all labels.
        decay: "linear" lowers every learning rate to 0 in equal steps over a stage; "none" keeps
            it constant.

    Raises:
        ValueError: A value is out of range.
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
            require(
                self.max_images >= self.batch_size,
                f"max_images must be >= batch_size {self.batch_size}",
                max_images=self.max_images,
            )
