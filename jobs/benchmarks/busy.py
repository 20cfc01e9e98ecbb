"""Another program that keeps a CPU busy, beside which a benchmark measures."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def busy_process(runs: bool) -> Iterator[None]:
    """During the block, another process computes all the time, if `runs`."""
    if not runs:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=compute_forever, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def compute_forever() -> None:
    """Keep one CPU busy."""
    while True:
        pass
