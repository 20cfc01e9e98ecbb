"""In which precision the FCD's classifier is trained, and what people see meanwhile."""

import itertools
from pathlib import Path

import pytest

from genae_core.config import progress
from genae_core.data.base import Splits
from genae_core.experiment import classifier_precision
from genae_core.experiment.classifier_display import show_training
from genae_core.experiment.classifier_precision import choose_precision, time_training
from genae_core.experiment.precision_flag import Precision
from genae_core.metrics.classifier import ClassifierConfig
from genae_core.testing import tiny

DATA = tiny.experiment().data


@pytest.fixture
def splits() -> Splits:
    return tiny.splits()


@pytest.fixture
def config() -> ClassifierConfig:
    return tiny.experiment().classifier


@pytest.mark.parametrize(
    ("flag", "bf16", "chosen"),
    [
        ("fp32", True, "fp32"),
        ("fp32-channels-last", True, "fp32"),
        ("bf16", True, "bf16"),
        ("bf16", False, "fp32"),
        ("auto", False, "fp32"),
    ],
)
def test_the_flag_chooses_unless_the_cpu_cannot(
    config: ClassifierConfig,
    splits: Splits,
    flag: Precision,
    bf16: bool,
    chosen: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is measured, and nothing is kept."""
    monkeypatch.setattr(classifier_precision, "has_bf16", lambda: bf16)
    assert choose_precision(config, DATA, splits, flag, tmp_path) == chosen
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("bf16", "chosen"), [(1.0, "bf16"), (1.9, "fp32"), (3.0, "fp32")])
def test_auto_measures_once(
    config: ClassifierConfig,
    splits: Splits,
    bf16: float,
    chosen: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """fp32 takes 2 s, and bf16 is chosen only if it is clearly faster."""
    monkeypatch.setattr(classifier_precision, "has_bf16", lambda: True)
    monkeypatch.setattr(
        classifier_precision, "time_training", lambda *_: {"fp32": 2.0, "bf16": bf16}
    )
    assert choose_precision(config, DATA, splits, "auto", tmp_path) == chosen
    monkeypatch.setattr(classifier_precision, "time_training", None)
    assert choose_precision(config, DATA, splits, "auto", tmp_path) == chosen


def test_both_precisions_are_timed(
    config: ClassifierConfig, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setitem(classifier_precision.CLOCKS, "cpu", lambda: float(next(ticks)))
    seconds = time_training(config, splits, DATA.binarize)
    assert seconds == {"fp32": 1.0, "bf16": 1.0}


def test_a_log_gets_a_line_while_the_classifier_trains(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SIGN_OF_LIFE_S", 0.05)
    printed = ""
    with show_training("mnist") as show:
        show(0, 7200)
        show(500, 7200)
        while "training the classifier of mnist: 500 of 7,200 batches after" not in printed:
            printed += capsys.readouterr().out
