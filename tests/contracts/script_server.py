"""The process from which `scripts.run` forks the processes of scripts, and of their workers.

  python -m contracts.script_server SOCKET

It imports what the scripts import, and then reads one order a line from its standard input: the
script's argv, environment and folder, and the files for its output. It answers each order with
the exit code.

Workers are forked from a process of their own, which waits on the socket: Ray starts
worker_setup.py, which asks there for a worker. That process has imported all but Ray, because Ray
reads the variables of its worker when it is imported. Ray's agents do not depend on these, and are
forked from another process, which has imported all.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from contracts.worker_setup import AGENTS, SOCKET

ROOT = Path(__file__).resolve().parents[2]
EXPLORER = ROOT / "dashboards" / "explorer" / "build.py"
# What a trial imports, without Ray.
TRIAL = (
    "genae_core.priors.flow",
    "genae_core.sweep.worker",
    "arviz_stats.base.array",
    "mlflow.store.tracking.sqlalchemy_store",
    "pandas",
    "pyarrow",
    "sklearn.mixture",
    "sqlalchemy.dialects.sqlite",
)
# What is imported only once it is used.
LATER = (
    "genae_core.sweep.tune",
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "opentelemetry.exporter.prometheus",
    "ray.dashboard.optional_deps",
    "ray.data",
    "sklearn.datasets",
    "torch._dynamo",
    "typeguard",
)


def import_all(variables: set[str]) -> None:
    """Import what the scripts import.

    variables: The variables that were set before anything was imported.
    """
    before = list(sys.path)
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


def become(argv: list[str], env: dict[str, str], cwd: str) -> None:
    """Make this process what it would be if the script had been started in it."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv[:] = argv
    sys.path[0] = str(Path(argv[0]).parent)


def redirect(order: dict[str, Any]) -> None:
    """Give this process the files of the order as its output."""
    for number, name in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
        handle = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(handle, number)
        os.close(handle)


def serve(workers: str) -> str | None:
    """Answer orders until there are no more. Returns the path of a script in its own process.

    workers: The socket that forks the workers of its Ray.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            order = json.loads(line)
            redirect(order)
            become(order["argv"], SET_BY_IMPORTS | {SOCKET: workers} | order["env"], order["cwd"])
            start_forked_workers()
            return sys.argv[0]
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
    return None


def start_forked_workers() -> None:
    """A Ray that this process starts runs worker_setup.py to start its workers and agents."""
    parameter, services = (
        sys.modules[f"ray._private.{name}"] for name in ("parameter", "services")
    )
    setup = str(Path(__file__).with_name("worker_setup.py"))
    parameter.RayParams = functools.partial(parameter.RayParams, setup_worker_path=setup)
    services._build_python_executable_command_memory_profileable = lambda *_, **__: [
        sys.executable,
        setup,
    ]


def serve_workers(listener: socket.socket, parent: int) -> int | None:
    """Fork a process for each worker_setup.py that asks.

    parent: The end of a pipe whose other end the scripts' process has open until it ends.

    Returns:
        In the process of a worker or an agent, the connection with its worker_setup.py; None once
        the scripts' process has ended.
    """
    os.dup2(2, 1)  # answers are the scripts' process's
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the workers
    while True:
        ready, _, _ = select.select([listener, parent], [], [])
        if parent in ready:
            return None
        asking, _ = listener.accept()
        if os.fork() == 0:
            break
        asking.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setpgrp()  # Ray ends a worker with its group
    _, streams, _, _ = socket.recv_fds(asking, 1, 3)
    for number, handle in enumerate(streams):
        os.dup2(handle, number)
        os.close(handle)
    with asking.makefile() as file:
        become(**json.load(file))
    return asking.detach()  # it stays open until this process ends


def run_worker() -> None:
    """Do what Ray's setup_worker.py does, but for the new process that it would become."""
    from ray._private.workers import setup_worker  # noqa: PLC0415

    def stay(_: str, args: list[str]) -> None:
        *_, command = args
        words = shlex.split(command)
        first = next(n for n, word in enumerate(words) if word.endswith("default_worker.py"))
        sys.argv[:] = words[first:]
        sys.path[0] = str(Path(words[first]).parent)
        runpy.run_path(words[first], run_name="__main__")
        sys.exit()

    os.execvp = stay  # type: ignore[assignment]
    runpy.run_path(setup_worker.__file__, run_name="__main__")


def run_agent(connection: int) -> None:
    """Run the agent of Ray that worker_setup.py was started with, as long as that one runs, and
    the raylet that started it.

    connection: The connection with worker_setup.py.
    """
    poll = select.poll()
    poll.register(connection, 0)  # says when the other end is closed
    poll.register(os.pidfd_open(int(os.environ["RAY_RAYLET_PID"])), select.POLLIN)

    def end_with_them() -> None:
        poll.poll()
        os._exit(0)

    threading.Thread(target=end_with_them, daemon=True).start()
    os.environ["RAY_RAYLET_PID"] = str(os.getppid())  # an agent ends if this is not its parent
    sys.modules["ray._raylet"].Config.initialize("")  # it reads the variables again
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


def fork_server(place: str) -> int | None:
    """Start a process that forks others, which have imported what this one has by now.

    place: Its socket.

    Returns:
        In these others, the connection with the worker_setup.py that asked; None here.
    """
    gc.freeze()
    parent, held = os.pipe()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        if os.fork() > 0:
            return None
        os.close(held)
        connection = serve_workers(listener, parent)
    return connection if connection is not None else sys.exit()


def end_with(work: Callable[[], None]) -> NoReturn:
    """Call the work and end as Python ends, but without taking the modules apart: a fork would
    first copy all of them, 300 MB, which takes longer than most scripts."""
    code: int | str | None = 0
    try:
        work()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code or 0)


def main(place: str) -> None:
    variables = set(os.environ)
    for name in TRIAL:
        importlib.import_module(name)
    assert "ray" not in sys.modules
    if fork_server(place) is not None:
        run_worker()
        return
    import_all(variables)
    agent = fork_server(place + AGENTS)
    if agent is not None:
        run_agent(agent)
        return
    script = serve(place)
    if script is not None:
        runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    end_with(functools.partial(main, *sys.argv[1:]))
