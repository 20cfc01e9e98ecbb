"""A study in the process of the tests."""

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from running import ROOT


@pytest.fixture
def run_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run`, in this process: for what ends before any trial, where imports would take longest."""

    def run(home: Path, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
        path = ROOT / "sweeps" / script
        monkeypatch.setenv("GENAE_HOME", str(home))
        monkeypatch.chdir(home)
        monkeypatch.setattr(sys, "argv", [str(path), *flags])
        monkeypatch.syspath_prepend(path.parent)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(sys.argv, ended.value.code, *capsys.readouterr())

    return run
