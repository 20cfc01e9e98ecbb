"""What was measured once is kept for the sweeps that follow on such hardware."""

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from genae_core.experiment import hardware, measurements
from genae_core.experiment.measurements import Question, ask, keep, read_known, recall_or_measure
from genae_core.nets.base import ComputeConfig
from genae_core.sweep import autotune
from genae_core.sweep.options import LaunchOptions
from genae_core.testing import tiny

SECONDS = {"fp32": 2.0, "fp32 as CUDA graphs": math.inf, "bf16": 1.0}


@pytest.fixture
def question() -> Question:
    return ask("precision", tiny.experiment(), 2, precision="auto")


def test_a_kept_measurement_is_read_as_it_was_made(tmp_path: Path, question: Question) -> None:
    new = recall_or_measure([], False, lambda seconds: seconds, SECONDS)
    assert new.origin == f"measured for this sweep, {new.date}"
    file = keep(tmp_path, question, new, pytest.fail)
    assert file is not None and file.parent == tmp_path / "measurements"
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    (known,) = read_known(tmp_path, question, None, pytest.fail)
    assert known == new._replace(file=file)
    assert list(known.seconds) == list(SECONDS)
    assert known.origin == f"measured for an earlier sweep, {new.date}"
    assert recall_or_measure([known], False, pytest.fail) == known


def test_other_hardware_measures_anew(
    tmp_path: Path, question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = recall_or_measure([], False, lambda: SECONDS)
    keep(tmp_path, question, here, pytest.fail)
    other = {**here.hardware, "cpu_flags": "less"}
    assert read_known(tmp_path, question, other, pytest.fail) == []
    known = read_known(tmp_path, question, None, pytest.fail)
    monkeypatch.setattr(measurements, "identify_hardware", lambda gpu: other)
    new = recall_or_measure(known, False, lambda: {"fp32": 3.0})
    assert (new.seconds, new.file) == ({"fp32": 3.0}, None)
    keep(tmp_path, question, new, pytest.fail)
    assert len(read_known(tmp_path, question, None, pytest.fail)) == 2


def test_what_decides_the_time_of_a_step_makes_another_question(question: Question) -> None:
    small = tiny.experiment()
    assert small.training is not None
    larger = dataclasses.replace(small.training, batch_size=7)
    model: Any = small.model
    others = [
        ask("precision", small, 1, precision="auto"),
        ask("precision", small, 2, precision="fp32"),
        ask("precision", dataclasses.replace(small, training=larger), 2, precision="auto"),
        ask(
            "precision",
            dataclasses.replace(small, model=dataclasses.replace(model, latent_dim=5)),
            2,
            precision="auto",
        ),
    ]
    assert all(other != question for other in others)
    longer = dataclasses.replace(
        small, seed=3, training=dataclasses.replace(small.training, epochs=9)
    )
    assert ask("precision", longer, 2, precision="auto") == question
    assert question.about["torch"] == torch.__version__


def damage(text: str, how: str) -> str:
    values = json.loads(text)
    return {
        "cut": text[:40],
        "edited": text.replace("2.0", "0.2"),
        "no seconds": json.dumps({**values, "seconds": {}, "seal": None}),
        "another question": json.dumps({"about": {}, "seconds": {"fp32": 1.0}}),
        "a list": "[1]",
        "a list of seconds": json.dumps({"about": values["about"], "seconds": [1.0, 2.0]}),
        "empty": "",
    }[how]


@pytest.mark.parametrize(
    "how",
    ["cut", "edited", "no seconds", "another question", "a list", "a list of seconds", "empty"],
)
def test_a_damaged_file_is_said_and_measured_again(
    how: str, tmp_path: Path, question: Question
) -> None:
    new = recall_or_measure([], False, lambda: SECONDS)
    file = keep(tmp_path, question, new, pytest.fail)
    assert file is not None
    file.write_text(damage(file.read_text(), how))
    said: list[str] = []
    assert read_known(tmp_path, question, new.hardware, said.append) == []
    (line,) = said
    assert line.startswith(f"note: {file} cannot be used, so it is measured again: ")
    keep(tmp_path, question, new, pytest.fail)
    assert len(read_known(tmp_path, question, new.hardware, pytest.fail)) == 1


def test_a_disk_that_fails_stops_nothing(tmp_path: Path, question: Question) -> None:
    (tmp_path / "measurements").write_text("a file")
    said: list[str] = []
    new = recall_or_measure([], False, lambda: SECONDS)
    assert keep(tmp_path, question, new, said.append) is None
    assert said[0].startswith("note: the measurement is not kept: ")


def test_hardware_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = hardware.identify_hardware(gpu=False)
    assert here == hardware.identify_hardware(gpu=False) and here["gpu"] == ""
    monkeypatch.setattr(hardware, "_read_cpuinfo", lambda: {"model name": "Z80", "flags": "b a"})
    other = hardware.identify_hardware(gpu=False)
    assert other["cpu"] == "Z80" and other["cpu_flags"] != here["cpu_flags"]
    monkeypatch.setattr(hardware, "_read_cpuinfo", lambda: {"model name": "Z80", "flags": "a b"})
    assert hardware.identify_hardware(gpu=False) == other


def test_the_next_sweep_takes_what_the_first_has_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a worker of Ray. If the file is deleted, it is measured again."""
    monkeypatch.setenv("GENAE_HOME", str(tmp_path))
    monkeypatch.setattr(autotune, "has_bf16", lambda: True)
    calls = []

    def once(function: Any, known: Any, gpu: bool, *_: Any, **__: Any) -> Any:
        calls.append(known)
        return function(known, gpu, lambda: {"fp32": 2.0, "bf16": 1.0})

    monkeypatch.setattr(autotune.ray_cluster, "call_once", once)
    sweep: Any = SimpleNamespace(cells={"a": tiny.experiment()})

    def choose() -> tuple[autotune.Choice, str]:
        choice = autotune.choose_compute(tmp_path, sweep, tiny.splits(), LaunchOptions())
        return choice, capsys.readouterr().out

    first, printed = choose()
    assert first.compute == ComputeConfig(precision="bf16")
    (file,) = (tmp_path / "measurements").iterdir()
    assert f"kept in {file}" in printed and "chosen: bf16" in printed
    second, printed = choose()
    assert second.compute == first.compute and "an earlier sweep" in second.origin
    assert f"To measure it again, delete {file}" in printed and "chosen: bf16" in printed
    assert calls == [[]]
    file.unlink()
    assert choose()[0] == first and calls == [[], []]
