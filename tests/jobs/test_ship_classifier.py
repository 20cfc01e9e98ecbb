"""The job through its own options, with a trained classifier that need not be trained again."""

import importlib
import json
from pathlib import Path

import pytest
from contracts.scripts import ROOT

from genae_core.config.home import home
from genae_core.data.digits import DigitsConfig
from genae_core.data.load import load_splits
from genae_core.metrics.classifier_shipped import SHIPPED
from genae_core.training import checkpoint
from genae_core.training.checkpoint import DESCRIPTION, WEIGHTS


def test_it_writes_what_genae_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(ROOT / "jobs"))
    job = importlib.import_module("ship_classifier")
    # The shipped classifier, as if it had been trained in this GENAE_HOME.
    tensors, about = checkpoint.read(SHIPPED / "digits")
    assert about["data"] == load_splits(DigitsConfig(), home(), say=lambda _: None).sha256
    trained = home() / "classifiers" / f"digits-{about['recipe'][:16]}"
    checkpoint.write(trained, tensors, about)

    out = tmp_path / "digits"
    assert job.main(job.Options(out=out)) == 0
    written = json.loads(capsys.readouterr().out)
    changing = {"genae", "torch"}  # the versions at hand
    assert {k: v for k, v in written.items() if k not in changing} == {
        k: v for k, v in about.items() if k not in changing
    }
    assert (out / WEIGHTS).read_bytes() == (SHIPPED / "digits" / WEIGHTS).read_bytes()
    assert (out / DESCRIPTION).is_file()
    with pytest.raises(ValueError, match="--out must not exist yet"):
        job.main(job.Options(out=out))
    with pytest.raises(ValueError, match="has the full recipe"):
        job.main(job.Options(out=tmp_path / "smoke", smoke=True))
