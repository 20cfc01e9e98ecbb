"""The job through its real entry point."""

import re
from pathlib import Path

import pytest
from contracts import scripts
from contracts.scripts import environment

pytestmark = pytest.mark.slow


def job(home: Path) -> str:
    done = scripts.run("jobs/train_classifier.py", variables=environment(home), cwd=home)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_trains_once_to_at_least_97_percent_on_digits(tmp_path: Path) -> None:
    first, second = job(tmp_path), job(tmp_path)
    match = re.search(r"([\d.]+)% accurate on 720 held-out images \(classes\), 32 features", first)
    assert match is not None, first
    assert float(match[1]) >= 97
    assert "training the FCD's classifier of digits" in first
    assert "training the" not in second
    assert "ruler:  sound: " in first and " features vary on 360 real images, floor " in first
    assert first.splitlines()[-1] == second.splitlines()[-1]
