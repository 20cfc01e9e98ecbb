"""The suite "startup": from the command of a sweep to its first line and its first trial.

Everything that is made once is there: the shards, the classifier and the database. Other load on
the machine counts, so the baseline and the sweep take turns.
"""

import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .rows import Row

SWEEP = Path(__file__).resolve().parents[2] / "sweeps" / "latent_dim.py"  # what `make sweep` runs
FIRST_LINE_S, FIRST_TRIAL_S, HELP_CPU_S = 2.0, 12.0, 1.0  # what is asked
# Ray alone, and a worker of it that has imported PyTorch.
PLAIN = """
import ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
def load():
    import torch
ray.get(ray.remote(load).remote())
print("[0/1] running a task", flush=True)
input()
"""


class Start(NamedTuple):
    """The seconds from a command to its first line, and to its first trial."""

    first_line: float
    first_trial: float


def rows(repeats: int, folder: Path) -> list[Row]:
    """Measure the start of `make sweep`, and the CPU time of its help.

    folder: The GENAE_HOME of the sweeps.
    """
    variables = {**os.environ, "GENAE_HOME": str(folder)}
    sweep = [sys.executable, str(SWEEP)]
    plain = [sys.executable, "-c", PLAIN]
    measure_start(sweep, variables)  # makes what is made once
    starts, plain_starts, helps = [], [], []
    for _ in range(repeats):
        plain_starts.append(measure_start(plain, variables))
        starts.append(measure_start(sweep, variables))
        helps.append(cpu_seconds([*sweep, "--help"]))
    first_line = statistics.median(start.first_line for start in starts)
    first_trial = statistics.median(start.first_trial for start in starts)
    ray = statistics.median(start.first_trial for start in plain_starts)
    help_cpu = statistics.median(helps)
    asked = f"Ray alone and a task that imports PyTorch (asked: {FIRST_TRIAL_S:g} s)"
    return [
        _limit("startup_first_line", first_line, "s from the command", FIRST_LINE_S),
        Row(
            name="startup_first_trial",
            value=first_trial,
            unit="s from the command",
            baseline=asked,
            baseline_value=ray,
            ratio=ray / first_trial,
        ),
        _limit("help_cpu", help_cpu, "s of CPU for --help", HELP_CPU_S),
    ]


def measure_start(command: Sequence[str], variables: dict[str, str]) -> Start:
    """Run a command until its first trial runs, and stop it as Ctrl-C does.

    Raises:
        RuntimeError: The command ended before.
    """
    began, first_line = time.monotonic(), 0.0
    printed: list[str] = []
    with subprocess.Popen(
        command,
        env={**variables, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line)
            first_line = time.monotonic() - began if len(printed) == 1 else first_line
            if re.match(r"\[ *0/\d+\] running ", line):
                first_trial = time.monotonic() - began
                process.send_signal(signal.SIGINT)
                process.communicate()
                return Start(first_line, first_trial)
    raise RuntimeError(f"{' '.join(command)} ended before a trial ran:\n{''.join(printed[-20:])}")


def cpu_seconds(command: Sequence[str]) -> float:
    """The CPU time of a command and of what it starts, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _limit(name: str, value: float, unit: str, limit: float) -> Row:
    return Row(
        name=name,
        value=value,
        unit=unit,
        baseline=f"the limit, {limit:g}",
        baseline_value=limit,
        ratio=limit / value,
    )
