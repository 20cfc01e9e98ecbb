"""The process from which `scripts.run` forks the processes of scripts.

It imports what the scripts import, and then reads one order a line from its standard input: the
script's argv, environment and folder, and the files for its output. It answers each order with
the exit code.
"""

import gc
import importlib
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXPLORER = ROOT / "dashboards" / "explorer" / "build.py"
# What is imported only once it is used.
LATER = ("mlflow.store.tracking.sqlalchemy_store", "ray.data", "torch._dynamo")


def import_all() -> None:
    """Import what the scripts import."""
    before, variables = list(sys.path), set(os.environ)
    for path in (*ROOT.glob("sweeps/*.py"), *ROOT.glob("jobs/*.py"), EXPLORER):
        sys.path[0] = str(path.parent)
        script = runpy.run_path(str(path), run_name="imported")
        sys.modules["genae_core.config.cli"].import_names(script["main"])
    for name in LATER:
        importlib.import_module(name)
    sys.path[:] = before
    SET_BY_IMPORTS.update({k: v for k, v in os.environ.items() if k not in variables})
    for name, module in list(sys.modules.items()):  # a script finds its neighbours by itself
        folder = Path(getattr(module, "__file__", None) or "/").parent
        if folder in (ROOT / "sweeps", ROOT / "jobs", EXPLORER.parent):
            del sys.modules[name]


SET_BY_IMPORTS: dict[str, str] = {}  # variables that genae sets when it is imported


def become(order: dict[str, Any]) -> None:
    """Make this process what it would be if the script had been started in it."""
    for number, name in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
        handle = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(handle, number)
        os.close(handle)
    os.environ.clear()
    os.environ.update(SET_BY_IMPORTS | order["env"])
    os.chdir(order["cwd"])
    sys.argv[:] = order["argv"]
    sys.path[0] = str(Path(sys.argv[0]).parent)


def serve() -> str | None:
    """Answer orders until there are no more. Returns the path of a script in its own process."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            become(json.loads(line))
            return sys.argv[0]
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
    return None


if __name__ == "__main__":
    import_all()
    gc.freeze()
    script = serve()
    if script is not None:
        runpy.run_path(script, run_name="__main__")
