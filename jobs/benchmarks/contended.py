"""The suite "contended": the training of the MLP, alone and beside a busy program.

Each measurement is a process of its own, because OpenMP reads how its threads wait when torch is
imported. So this module imports torch only there.
"""

import multiprocessing
import os
import statistics
import time

from genae_core.config.thread_waiting import POLICY, choose_thread_waiting, read_cpu_times

from .busy import busy_process
from .rows import Row

WARM_UP, STEPS = 20, 200  # steps of a measurement
SETTLED = 1.0  # seconds until the busy process computes


def rows(repeats: int) -> list[Row]:
    """Measure contended_alone, genae's training with threads that wait as genae chooses beside
    those that wait as torch's OpenMP does, and contended, genae's beside a busy process and alone.
    The arms take turns."""
    times: dict[tuple[bool, bool], list[float]] = {}
    for _ in range(repeats):
        for busy in (False, True):
            for chosen in (False, True):
                times.setdefault((busy, chosen), []).append(measure(busy=busy, chosen=chosen))
    speed = {arm: 1 / statistics.median(seconds) for arm, seconds in times.items()}
    return [
        Row(
            name=name,
            value=speed[arm],
            unit="steps/s",
            baseline=title,
            baseline_value=speed[baseline],
            ratio=speed[arm] / speed[baseline],
        )
        for name, arm, title, baseline in (
            ("contended_alone", (False, True), "threads that wait in a loop", (False, False)),
            ("contended", (True, True), "without the busy process", (False, True)),
            ("contended_default", (True, True), "threads that wait in a loop", (True, False)),
        )
    ]


def measure(*, busy: bool, chosen: bool) -> float:
    """The median seconds of a step in a new process.

    Args:
        busy: Whether another process keeps a CPU busy.
        chosen: Whether genae chooses how the threads wait.
    """
    with busy_process(busy), multiprocessing.get_context("spawn").Pool(1) as pool:
        time.sleep(SETTLED)
        return float(pool.apply(seconds_of_step, (chosen,)))


def seconds_of_step(chosen: bool) -> float:
    """The median seconds of a training step of the MLP with two threads."""
    os.environ.pop(POLICY, None)  # the choice of the process that started this one
    if chosen:
        choose_thread_waiting(read_cpu_times())

    import torch

    from genae_core.experiment.precision import has_bf16
    from genae_core.nets.base import ComputeConfig

    from .cases import CASES, images_of
    from .train import genae

    torch.set_num_threads(2)
    case = CASES["mlp"]._replace(steps=1)
    compute = ComputeConfig(precision="bf16" if has_bf16() else "fp32")
    step = genae(case, images_of(case, case.batch * 20), compute, "cpu")
    seconds = []
    for _ in range(WARM_UP + STEPS):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[WARM_UP:])
