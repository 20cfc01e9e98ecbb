"""The repository's scripts, each run as a process of its own, as a person starts it.

A script needs seconds to import torch, Ray and MLflow, and so does each worker of its Ray. `run`
therefore forks their processes from ones that have imported them already.
"""

import contextlib
import functools
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contracts.shared import UNTIL_THE_END

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 600.0


def environment(home: Path, python: str = sys.executable, **more: str) -> dict[str, str]:
    """The variables of a script that keeps its files in `home`."""
    variables = environment_of(python)
    return {**variables, "GENAE_HOME": str(home), "OMP_NUM_THREADS": "1", **more}


def run(
    script: str,
    *flags: str,
    variables: Mapping[str, str],
    cwd: Path,
    python: str = sys.executable,
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, in a process of its own that need not import anything anew.

    Args:
        script: Its path in the repository, such as "sweeps/latent_dim.py".
        flags: Its flags.
        variables: Its environment.
        cwd: The folder in which it starts.
        python: The Python that runs it.
    """
    argv = [str(ROOT / script), *flags]
    with tempfile.TemporaryDirectory(prefix="genae-script-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        order = {"argv": argv, "env": _without_ray(variables), "cwd": str(cwd)}
        code = _server(python).run({**order, "out": str(out), "err": str(err)})
        return subprocess.CompletedProcess(argv, code, out.read_text(), err.read_text())


def _without_ray(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables without those of Ray. Ray has read them when the server imported it, and some
    of its code would not follow a change."""
    return {name: value for name, value in variables.items() if not name.startswith("RAY_")}


def environment_of(python: str) -> dict[str, str]:
    """The variables of a process of this Python. One of another environment finds genae by itself,
    and its own programs first."""
    if python == sys.executable:
        return dict(os.environ)
    path = os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", "")])
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "PATH")
    return {name: value for name, value in os.environ.items() if name not in ours} | {"PATH": path}


class _Server:
    """The process from which scripts are forked. It runs one script at a time."""

    def __init__(self, python: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="genae-server-")
        place = f"{self.folder.name}/workers"
        self.process = subprocess.Popen(
            [python, "-m", "contracts.script_server", place],
            cwd=ROOT / "tests",
            env={**_without_ray(environment_of(python)), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        UNTIL_THE_END.callback(self.stop)

    def run(self, order: dict[str, Any]) -> int:
        """Run a script; its exit code. Raises TimeoutError if it takes too long."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(TIMEOUT_S):
                self.stop()
                _server.cache_clear()
                raise TimeoutError(f"{order['argv']} has not ended after {TIMEOUT_S:.0f} s")
        return int(self.process.stdout.readline())

    def stop(self) -> None:
        """End the server, and a script that still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.communicate()
        self.folder.cleanup()


@functools.cache
def _server(python: str) -> _Server:
    return _Server(python)
