"""What a trial is told, as a sweep in this process would tell it."""

from pathlib import Path
from typing import Any

from genae_core.experiment.experiment import Experiment
from genae_core.sweep.runs import Sweep
from genae_core.tracking.mlflow_store import Tracker


def told(
    tracker: Tracker,
    folder: Path,
    cells: dict[str, Experiment],
    name: str,
    tags: dict[str, str],
    **more: Any,
) -> Sweep:
    """Its states and journals lie in the folder. more: of `Sweep`, instead of what is plain."""
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
        **(plain | more),
    )
