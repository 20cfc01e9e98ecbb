"""What a run records of a training and of a chain, in the names that the tracking store shows.

The only place that knows both a chain's result and how it is stored.
"""

import json
import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genae_core.config import replace_non_finite
from genae_core.evaluation.chains import ChainResult
from genae_core.evaluation.image_grids import Picture


class Record(Protocol):
    """Where a run's results go; `tracking.journal.Journal` is one."""

    def log_metrics(self, rows: Iterable[tuple[str, float, int]]) -> None:
        """Metrics as (name, value, step)."""

    def log_image(self, picture: NDArray[np.uint8], step: int) -> None:
        """A picture of the sampling step, uint8 [H, W, 3]."""

    def files(self) -> AbstractContextManager[Path]:
        """A folder to fill with the run's artifacts."""


# The explorer page reads these artifacts of a chain.
SPRITE, LATENT = "sprite.avif", "latent.json"


def record_training(record: Record, points: Iterable[tuple[int, dict[str, float]]]) -> None:
    """Record the loss terms as metrics train/NAME, by optimiser step."""
    record.log_metrics(
        (f"train/{name}", value, step) for step, terms in points for name, value in terms.items()
    )


def record_chain(record: Record, result: ChainResult, training_seconds: float) -> None:
    """Record a chain's curves as metrics chain/NAME by MCMC step, its scalars, a sample grid for
    each step under one key, and the files that the explorer page reads."""
    curves = {"fcd_val": result.fcd_val, "fcd": result.fcd, **result.curves}
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
    for step, picture in zip(steps, result.grids, strict=True):
        record.log_image(picture, step)
    with record.files() as folder:
        Image.fromarray(result.strip).save(folder / "strip.png")
        save_sprite(result.sprite, folder / SPRITE)
        curve = replace_non_finite({"step": list(steps), **curves})
        (folder / "curve.json").write_text(json.dumps(curve, indent=1))
        if result.mixing:
            mixing = replace_non_finite(result.mixing)
            (folder / "mixing.json").write_text(json.dumps(mixing, indent=1))
        if result.latent:
            (folder / LATENT).write_text(json.dumps(result.latent))


def save_sprite(picture: Picture, path: Path) -> None:
    """Save the picture as AVIF, at a third of a PNG's size, so that a page can hold a thousand."""
    Image.fromarray(picture).save(path, quality=40, speed=8)
