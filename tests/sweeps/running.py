"""Sweeps as a user starts them, and what MLflow holds afterwards."""

import subprocess
from pathlib import Path

from contracts import scripts
from contracts.databases import new_store
from contracts.scripts import ROOT, environment
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

__all__ = ["ONE", "ROOT", "client_of", "environment", "run", "trials_of"]

# For tests of something else: one worker instead of two, and none that measures the precisions.
ONE = ("--trials-in-parallel", "1", "--precision", "fp32")


def run(home: Path, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a study without the time that its imports and a new store take."""
    if not (home / "mlflow.db").exists():
        new_store(home)
    variables = environment(home)
    return scripts.run(f"sweeps/{script}", *flags, variables=variables, cwd=home)


def client_of(home: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home}/mlflow.db")


def trials_of(client: MlflowClient, experiment_id: str) -> list[Run]:
    """All runs but the summaries of sweeps."""
    return [r for r in client.search_runs([experiment_id]) if "sweep" in r.data.tags]
