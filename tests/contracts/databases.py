"""Empty MLflow databases. MLflow takes seconds to make one, so all but the first are copies."""

import functools
import tempfile
from pathlib import Path

from mlflow.tracking import MlflowClient


def new_store(folder: Path) -> str:
    """Put an empty database into the folder, where GENAE_HOME has it. Returns its URI."""
    path = folder / "mlflow.db"
    path.write_bytes(_empty_database())
    return f"sqlite:///{path}"


@functools.cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory(prefix="genae-store-") as folder:
        path = Path(folder, "mlflow.db")
        assert MlflowClient(f"sqlite:///{path}").get_experiment_by_name("none") is None
        return path.read_bytes()
