"""What every test shares: one thread, plain asserts in the contracts, the order, and the skips."""

import gc
import os
import signal
import socket
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch
from contracts.shared import UNTIL_THE_END

pytest.register_assert_rewrite("genae_core.testing")
torch.set_num_threads(1)  # the tensors are tiny: more threads only wait for one another
# A shell ignores these signals in what it runs in the background, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parents[1]
# The files that take longest, the longest first. Each is one worker's, and the short ones come
# last, so that the workers end together.
LONGEST = (
    "tests/sweeps/test_own_classes.py",
    "tests/sweeps/test_studies.py",
    "tests/sweeps/test_family_studies.py",
    "tests/sweeps/test_paper_studies.py",
    "tests/test_stored_data.py",
    "tests/sweeps/test_own_datasets.py",
    "tests/jobs/test_prepare_data.py",
    "tests/test_wheel.py",
    "tests/cluster/test_slurm.py",
    "tests/commands/test_sweep.py",
    "tests/sweeps/test_folder_study.py",
    "tests/jobs/test_submit.py",
    "tests/jobs/test_benchmark.py",
    "tests/jobs/test_sample.py",
    "tests/recipes/test_new_family.py",
    "tests/dashboards",
    "tests/sweep/test_ray_cluster.py",
    "tests/models/test_two_stage.py",
    "tests/jobs",
    "tests/sweep",
    "tests/data/test_shard_images.py",
    "tests/models",
)
# Reasons to skip a test that no package of the system can remedy.
ALLOWED_SKIPS = ("no real ", "this CPU has bfloat16")
CONTRACTS = str(ROOT / "genae_core" / "testing")  # some of their tests are not about every class


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        yield int(listener.getsockname()[1])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from the modules and the tests, which live to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that take longest first."""

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(ROOT).as_posix()
        return next((n for n, start in enumerate(LONGEST) if path.startswith(start)), len(LONGEST))

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With GENAE_REQUIRE_ALL, fail a test that is skipped because a program is not installed."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and os.getenv("GENAE_REQUIRE_ALL"):
        place, _, reason = report.longrepr
        allowed = reason.removeprefix("Skipped: ").startswith(ALLOWED_SKIPS)
        if not allowed and not place.startswith(CONTRACTS):
            report.outcome, report.longrepr = "failed", f"GENAE_REQUIRE_ALL is set. {reason}"
    return report


def pytest_sessionfinish() -> None:
    """End the processes that tests have shared."""
    UNTIL_THE_END.close()
