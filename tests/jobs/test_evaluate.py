"""The job on a checkpoint of the digits: the same results in this process and over Ray."""

import dataclasses
import importlib
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from contracts import scripts
from contracts.scripts import environment

from genae_core.data.base import load
from genae_core.data.digits import DigitsConfig
from genae_core.distributions.rng import Draw
from genae_core.evaluation.streaming import EvaluationReport, StepMetrics
from genae_core.metrics.classifier import ClassifierConfig
from genae_core.metrics.classifier_shipped import shipped_classifier
from genae_core.metrics.estimate import Estimate
from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.training.checkpoint import save_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CONFIG = VAEConfig(latent_dim=4, net=MLPConfig(widths=(8,)))


def saved(folder: Path, shape: tuple[int, ...]) -> Path:
    with Draw(0).as_global():
        model = CONFIG.build(shape)
    save_model(folder, model, CONFIG, shape, Draw(0))
    return folder


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(ROOT / "jobs"))
    return importlib.import_module("genae_core.commands.evaluate")


def test_here_and_over_a_cluster(
    job: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = saved(tmp_path / "model", (1, 8, 8))
    flags: dict[str, Any] = {"source": str(model), "num_samples": 21_000, "steps": (0, 3)}
    monkeypatch.setattr(job, "FEW", 21_000)
    assert job.main(job.Options(**flags, out=tmp_path / "here.json")) == 0
    shown = capsys.readouterr().out
    assert "21,000 samples against" in shown and "test images of digits" in shown
    assert "class entropy" in shown and "accepted" not in shown
    words = ["--num-samples", "21000", "--steps", "0", "3", "--out", str(tmp_path / "there.json")]
    variables = environment(tmp_path / "home")
    script = "jobs/evaluate.py"
    done = scripts.run(script, str(model), *words, variables=variables, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    here, there = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("here", "there"))
    assert [at["step"] for at in here["steps"]] == [0, 3]
    for a, b in zip(here["steps"], there["steps"], strict=True):
        assert a.keys() == b.keys() and a["classes"] == pytest.approx(b["classes"], abs=2e-3)
        for name in ("fcd", "fcd_se", "kid", "kid_se"):  # threads sum in other orders
            assert a[name] == pytest.approx(b[name], rel=1e-2)
    with pytest.raises(ValueError, match="--out must not exist yet"):
        job.main(job.Options(**flags, out=tmp_path / "here.json"))


def test_few_samples_give_warnings_and_no_errors(
    job: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = saved(tmp_path / "model", (1, 8, 8)), tmp_path / "few.json"
    assert job.main(job.Options(source=str(model), num_samples=100, steps=(0,), out=out)) == 0
    shown = capsys.readouterr().out
    assert "warning: the FCD compares 100 images on" in shown and "biased upwards" in shown
    assert (
        "warning: all samples are in one sub-batch of 500 chains" in shown and "nan" not in shown
    )

    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    (step,) = json.loads(out.read_text(), parse_constant=refused)["steps"]
    assert step["fcd"] > 0 and step["fcd_se"] is None and step["kid_se"] is None


def test_without_a_ruler_there_is_no_ratio_to_real_images(job: ModuleType) -> None:
    steps = [StepMetrics(0, Estimate(8.0, 1.0), Estimate(1.0, 1.0), [], None)]
    report = EvaluationReport(100, 100, 2.0, steps)
    assert "4.00" in job.table(report) and "n/a" not in job.table(report)
    for table in (job.table(report, blind=True), job.table(report._replace(floor=0.0))):
        assert "n/a" in table and "4.00" not in table


def test_the_distances_of_pretrained_networks_stand_beside_the_fcd(job: ModuleType) -> None:
    at = StepMetrics(
        0, Estimate(8.0, 1.0), Estimate(1.0, 1.0), [], None, {}, {"fid": Estimate(30.0, 2.0)}
    )
    report = EvaluationReport(100, 100, 2.0, [at], distance_floors={"fid": 12.0})
    head, row = job.table(report).splitlines()[0], job.table(report).splitlines()[-1]
    assert "FID" in head and "FID/real" in head and "30 ± 2" in row and "2.50" in row
    values = job._to_json(job.Options(source="run"), report)
    assert values["distance_floors"] == {"fid": 12.0} and "metric_floors" not in values
    assert values["steps"][0]["fid"] == 30.0 and values["steps"][0]["fid_se"] == 2.0
    plain = job._to_json(job.Options(source="run"), report._replace(distance_floors={}))
    assert "distance_floors" not in plain


def test_features_and_weights_belong_together(job: ModuleType, tmp_path: Path) -> None:
    for flags in ({"features": "dinov2"}, {"weights": tmp_path / "vit.pth"}):
        with pytest.raises(ValueError, match="--features and --weights belong together"):
            job.Options(source="run", **flags)


def test_a_file_that_cannot_be_written_is_said_before_any_work(
    job: ModuleType, tmp_path: Path
) -> None:
    model = saved(tmp_path / "model", (1, 8, 8))
    with pytest.raises(ValueError, match="--out: there is no folder"):
        job.main(job.Options(source=str(model), out=tmp_path / "missing" / "report.json"))


def test_bad_input_is_said_before_any_work(job: ModuleType, tmp_path: Path) -> None:
    small, large = saved(tmp_path / "8", (1, 8, 8)), saved(tmp_path / "28", (1, 28, 28))
    for flags, words in (
        ({"source": str(large)}, r"images of the data's shape, \[1, 8, 8\]"),
        ({"source": str(small), "steps": (1, 5)}, "record must be whole steps ascending from 0"),
        ({"source": str(small), "num_samples": 3}, "needs at least"),
        ({"source": str(tmp_path / "no" / "where")}, "there is no folder"),
        ({"source": "0123456789abcdef"}, "no run '0123456789abcdef'"),
    ):
        with pytest.raises(ValueError, match=words):
            job.main(job.Options(**flags, out=tmp_path / "out.json"))
    assert not (tmp_path / "out.json").exists()


def test_a_run_is_measured_by_its_own_classifier_unless_a_flag_names_the_other(
    job: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = shipped_classifier("digits")
    assert shipped is not None
    sha256 = shipped.about["sha256"]
    subject = job.Subject(
        chain=None,
        data=DigitsConfig(),
        splits=load(DigitsConfig()),
        classifier=shipped.config,
        is_run=True,
        measured_by=sha256,
        metrics=(),
        recommended=None,
    )
    options = job.Options(source="run")
    assert job._check_classifier(subject, options).config == shipped.config
    printed = capsys.readouterr().out
    assert f"classifier digits {sha256[:8]} (shipped with genae): " in printed
    assert "warning" not in printed
    # An earlier run, which a trained classifier has measured.
    earlier = subject._replace(classifier=ClassifierConfig(), measured_by="0" * 64)
    named = dataclasses.replace(options, classifier="shipped")
    assert job._check_classifier(earlier, named).config == shipped.config
    printed = capsys.readouterr().out
    assert "warning: the run was measured by the classifier 00000000, so its FCDs cann" in printed
    with pytest.raises(ValueError, match="not trained: leave out --classifier-epochs"):
        dataclasses.replace(named, classifier_epochs=3)


def test_metrics_of_ones_own_are_columns_and_keys(job: ModuleType) -> None:
    own = {"sharpness": Estimate(0.5, 0.25), "LPIPS": Estimate(math.nan, math.nan)}
    step = StepMetrics(3, Estimate(8.0, 1.0), Estimate(1.0, 1.0), [], None, own)
    floors = {"sharpness": 1.0, "LPIPS": 0.0}
    plain = EvaluationReport(100, 100, 2.0, [step._replace(metrics={})])
    report = plain._replace(steps=[step], metric_images=50, metric_floors=floors)
    head, _, row = job.table(report).splitlines()
    assert head.split()[-2:] == ["sharpness", "LPIPS"] and row.endswith("0.5 ± 0.25    n/a")
    options = job.Options(source="run")
    values, without = (job._to_json(options, one) for one in (report, plain))
    assert (values["metric_images"], values["metric_floors"]) == (50, floors)
    (at,) = values["steps"]
    assert (at["sharpness"], at["sharpness_se"]) == (0.5, 0.25) and math.isnan(at["LPIPS"])
    assert without.keys() == {"source", "num_samples", "num_real", "floor", "steps"}
    assert "sharpness" not in without["steps"][0]
