"""The job through its real entry point."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def job(home: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "train_classifier.py")],
        env={**os.environ, "GENAE_HOME": str(home), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout


def test_it_trains_once_to_at_least_97_percent_on_digits(tmp_path: Path) -> None:
    first, second = job(tmp_path), job(tmp_path)
    match = re.search(r"([\d.]+)% accurate on 720 held-out images \(classes\), 32 features", first)
    assert match is not None, first
    assert float(match[1]) >= 97
    assert "training on" in first
    assert "training on" not in second
    assert first.splitlines()[-1] == second.splitlines()[-1]
