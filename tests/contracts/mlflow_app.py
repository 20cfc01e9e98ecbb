"""MLflow's server in a thread of this process, behind a gate that breaks its answers on demand."""

import base64
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from contracts.databases import new_store

USER, PASSWORD = "reader", "hunter2"
RETRY = [("Retry-After", "3600"), ("Content-Type", "text/plain")]
JSON = [("Content-Type", "application/json")]


class Gate:
    """Stands before the server.

    Attributes:
        mode: What happens to a call. pass: the server answers. 503, 429: the answer asks to come
            back in an hour. {}: an answer of success without content, which the server does not
            know of. half: an answer whose end is missing. nothing: no answer.
        only: The calls that are broken; all others pass.
        login: Whether a call needs the user and the password.
        calls: The paths of the calls so far.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.app, self.mode, self.login = app, "pass", False
        self.only: Callable[[str], bool] = lambda path: True
        self.calls: list[str] = []
        self.closing = False

    def __call__(self, environ: dict[str, Any], respond: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.calls.append(path)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.login and environ.get("HTTP_AUTHORIZATION") != f"Basic {token}":
            environ["wsgi.input"].read(length)
            respond("401 Unauthorized", JSON)
            return [b"who are you?"]
        if self.mode == "pass" or not self.only(path):
            return self.app(environ, respond)
        environ["wsgi.input"].read(length)
        if self.mode in ("503", "429"):
            respond(f"{self.mode} Come back later", RETRY)
            return [b"later"]
        if self.mode == "{}":
            respond("200 OK", JSON)
            return [b"{}"]
        if self.mode == "half":
            respond("200 OK", [*JSON, ("Content-Length", "1000")])
            return [b'{"run": {"info": {"run_']
        while self.mode == "nothing" and not self.closing:
            time.sleep(0.02)
        raise ConnectionAbortedError


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[tuple[Gate, str]]:
    """Serve a new store in the folder. Yields the gate and the server's address."""
    new_store(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "mlflow-artifacts:/")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", str(folder / "artifacts"))
        patch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
        # MLflow tries to import it at each search, and does without it.
        patch.setitem(sys.modules, "mlflow.server.auth", None)
        from mlflow.server import app, handlers  # noqa: PLC0415  reads the variables

        patch.setattr(handlers, "_tracking_store", None)
        patch.setattr(handlers, "_artifact_repo", None)
        gate = Gate(app)
        server = make_server("127.0.0.1", 0, gate, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield gate, f"http://127.0.0.1:{server.server_port}"
        gate.closing = True
        server.shutdown()
        server.server_close()
