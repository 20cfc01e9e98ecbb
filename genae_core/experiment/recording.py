"""What a run records about a training and a chain, under the names that the tracking store shows.

Only this module knows both a chain's result and how it is stored.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genae_core.config import replace_non_finite
from genae_core.data import sealed
from genae_core.evaluation.chains import ChainResult
from genae_core.evaluation.image_grids import Picture


class Record(Protocol):
    """Takes the results of a run; `tracking.journal.Journal` is one."""

    def log_metrics(self, rows: Iterable[tuple[str, float, int]]) -> None:
        """Log metrics as (name, value, step)."""

    def log_images(self, images: Sequence[NDArray[np.uint8]], steps: Sequence[int]) -> None:
        """Log an image of each of these MCMC steps, uint8 [H, W, 3], all of one size."""

    def files(self) -> AbstractContextManager[Path]:
        """Yield a folder to fill with artifacts of the run."""


# The explorer page reads these artifacts of a chain.
SPRITE, LATENT = "sprite.avif", "latent.json"


def record_training(record: Record, points: Iterable[tuple[int, dict[str, float]]]) -> None:
    """Record the loss terms as metrics train/NAME, by optimiser step."""
    record.log_metrics(
        (f"train/{name}", value, step) for step, terms in points for name, value in terms.items()
    )


def record_chain(record: Record, result: ChainResult, training_seconds: float) -> None:
    """Record a chain's curves, scalars, sample grids and files.

    The curves become metrics chain/NAME by MCMC step, the grids the images of these steps. The
    files are those that the explorer page reads.
    """
    own = {name: curve.values for name, curve in result.metrics.items()}
    curves = {"fcd_val": result.fcd_val, "fcd": result.fcd, **result.curves, **own}
    if result.floor > 0:
        curves["fcd_ratio"] = [value / result.floor for value in result.fcd]
    steps = result.config.record
    rows = [
        (f"chain/{name}", value, step)
        for name, values in curves.items()
        for step, value in zip(steps, values, strict=True)
        if math.isfinite(value)
    ]
    seconds = {"training_seconds": training_seconds, "evaluation_seconds": result.seconds}
    scalars = seconds | result.summary()
    record.log_metrics([*rows, *((name, value, 0) for name, value in scalars.items())])
    record.log_images(result.grids, steps)
    with record.files() as folder:
        Image.fromarray(result.strip).save(folder / "strip.png")
        save_sprite(result.sprite, folder / SPRITE)
        curve = replace_non_finite({"step": list(steps), **curves})
        (folder / "curve.json").write_text(sealed.to_text(curve))
        if result.mixing:
            mixing = replace_non_finite(result.mixing)
            (folder / "mixing.json").write_text(sealed.to_text(mixing))
        if result.latent:
            latent = replace_non_finite(result.latent)
            (folder / LATENT).write_text(sealed.to_text(latent, indent=None))


def save_sprite(picture: Picture, path: Path) -> None:
    """Save the picture as AVIF, which needs a third of a PNG's bytes, as a page holds many.

    The bytes depend on whether the encoder has one thread or several, so that is fixed.
    """
    Image.fromarray(picture).save(path, quality=40, speed=8, max_threads=2)
