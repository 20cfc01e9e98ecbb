"""Sweeps as a user starts them, and what MLflow holds afterwards."""

import os
import subprocess
import sys
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

ONE = ("--trials-in-parallel", "1")  # where that is not the matter: a worker less has to start
ROOT = Path(__file__).resolve().parents[2]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "GENAE_HOME": str(home), "OMP_NUM_THREADS": "1"}


def run(home: Path, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "sweeps" / script), *flags],
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def client_of(home: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home}/mlflow.db")


def trials_of(client: MlflowClient, experiment_id: str) -> list[Run]:
    """All runs but the summaries of sweeps."""
    return [r for r in client.search_runs([experiment_id]) if "sweep" in r.data.tags]
