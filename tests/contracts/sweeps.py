"""A sweep as the driver passes it to its trials, made in this process."""

from pathlib import Path
from typing import Any

from genae_core.experiment.experiment import Experiment
from genae_core.sweep.runs import Sweep
from genae_core.tracking.mlflow_store import Tracker


def make_sweep(
    tracker: Tracker,
    folder: Path,
    cells: dict[str, Experiment],
    name: str,
    tags: dict[str, str],
    **settings: Any,
) -> Sweep:
    """Its states and journals lie in the folder. settings: of `Sweep`, in place of plain ones."""
    plain: dict[str, Any] = {
        "seeds": (0, 1),
        "threads": 1,
        "gpus": 0,
        "memory": None,
        "rungs": (),
        "mirror": None,
        "finished": {},
        "linger": 60,
        "checkpoint_seconds": 600,
    }
    return Sweep(
        name=name,
        uri=tracker.uri,
        experiment_id=tracker.experiment_id,
        tags=tags,
        states=str(folder / "states"),
        journals=str(folder / "journals"),
        cells=cells,
        **(plain | settings),
    )
