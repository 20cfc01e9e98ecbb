"""Batches that also hold labelled images, for a phase that needs them in each step.

Where few images have labels, most batches of a training hold none. So each batch gets as many
labelled images as it has images.
Shapes: N images, L labelled images, B batch.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genae_core.config import require
from genae_core.distributions.rng import Draw
from genae_core.models.base import ENCODING_BATCH, Batch, Examples


class BatchWithLabelled(NamedTuple):
    """A `Batch`, and labelled images beside it.

    Attributes:
        x: As in `Batch`.
        labels: As in `Batch`.
        labelled: B images whose classes are known.
    """

    x: Tensor
    labels: Tensor
    labelled: Batch


def pair_with_labelled(model: Any, examples: Examples, draw: Draw) -> Examples:
    """Give each image a labelled one, for `Stage.inputs`.

    The image i comes with the labelled image number i mod L. An epoch is a random order of the
    images, so its labelled images have a random order too, and each of them comes N / L times,
    rounded up or down. If all images have labels, each image comes with itself. Nothing is drawn,
    so a training that continues makes the same batches.

    Args:
        model: The model, which is not used.
        examples: The images, some of which have a class.
        draw: The random stream, which is not used.

    Returns:
        The same images in batches of the class `BatchWithLabelled`.

    Raises:
        ValueError: No image has a label.
    """
    parts = np.array_split(np.arange(examples.count), -(-examples.count // ENCODING_BATCH))
    labels = torch.cat([examples.batch(rows).labels for rows in parts])
    labelled: NDArray[np.int64] = (labels >= 0).nonzero().flatten().cpu().numpy()
    require(
        len(labelled) > 0,
        "a training with labels needs images whose class is known",
        labelled=len(labelled),
    )

    def batch(index: NDArray[np.int64]) -> BatchWithLabelled:
        beside = examples.batch(labelled[index % len(labelled)])
        images = examples.batch(index)
        return BatchWithLabelled(images.x, images.labels, beside)

    return Examples(examples.count, batch, examples.order)
