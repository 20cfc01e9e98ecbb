"""Show all runs in MLflow, until Ctrl-C.

Only this machine can open it, unless --host says otherwise.

  genae ui
  genae ui --tracking-uri sqlite:////data/genae/mlflow.db --port 5001
"""

import importlib.util
import os
import sys
from dataclasses import dataclass

from genae_core.config import require
from genae_core.config.console import say
from genae_core.config.home import default_store
from genae_core.config.places import is_sqlite, locate_fields, sqlite_path
from genae_core.config.redaction import redact


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this command."""

    tracking_uri: str | None = None
    """The MLflow store to show (default: mlflow.db in GENAE_HOME)."""
    host: str = "127.0.0.1"
    """The address at which MLflow listens. It asks for no password."""
    port: int = 5000
    """The port at which MLflow listens."""

    def __post_init__(self) -> None:
        locate_fields(self, "tracking_uri")
        require(1024 <= self.port < 65536, "--port must be 1024 to 65535", port=self.port)


def main(options: Options) -> int:
    """Become MLflow's server. Raises ValueError if there is no store to show."""
    uri = options.tracking_uri or default_store()
    if uri.startswith(("http://", "https://")):
        raise ValueError(f"{redact(uri)} is a server already: open it in a browser")
    if is_sqlite(uri) and not sqlite_path(uri).is_file():
        raise ValueError(f"there is no store at {uri} yet: run a sweep, or give --tracking-uri")
    if importlib.util.find_spec("mlflow") is None:
        raise ModuleNotFoundError("No module named 'mlflow'", name="mlflow")
    say(f"ui: http://{options.host}:{options.port} shows {redact(uri)}; Ctrl-C ends it")
    flags = ["--host", options.host, "--port", str(options.port), "--workers", "1"]
    server = [sys.executable, "-m", "mlflow", "server", *flags, "--backend-store-uri", uri]
    variables = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    os.execve(sys.executable, server, os.environ | variables)
