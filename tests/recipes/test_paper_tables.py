"""The tables that paper_tables.py makes of the runs that it reads back."""

import json
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import scipy

from genae_core.data.base import Split, Splits
from genae_core.distributions.rng import Draw
from genae_core.models.aae import AAEConfig
from genae_core.models.gan import GANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.recipes import parzen_models, parzen_table
from genae_core.recipes.flowae_table import TABLE, flowae_rows
from genae_core.recipes.options import ParzenFamily
from genae_core.recipes.paper_rows import Row
from genae_core.report.intervals import interval
from genae_core.tracking.mlflow_store import StoredRun


def _run(family: str, fcd: float, status: str = "FINISHED") -> StoredRun:
    tags = {"cell": json.dumps({"family": family}), "seed": "0"}
    return StoredRun("id", status, tags, {}, {"fcd_step0": fcd, "fcd_floor": 2.0}, {})


def test_the_interval_is_students() -> None:
    """Of 1, 2, 3: mean 2, sd 1, and t_{0.975, 2} = 4.3027."""
    mean, low, high = interval([1.0, 2.0, 3.0])
    assert low is not None and high is not None
    assert mean == 2 and high - mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert mean - low == pytest.approx(high - mean)
    assert interval([5.0]) == (5.0, None, None)


def test_rows_are_named_as_in_the_paper_and_count_finished_runs() -> None:
    runs = [
        *(_run("vae", fcd) for fcd in (10.0, 12.0)),
        _run("vae", 1e6, "FAILED"),
        _run("flow_ae", 4.0),
        _run("flow_ae_spline", 3.0),
    ]
    rows = {row.name: row for row in flowae_rows(runs)}
    assert list(rows) == ["Real data", "VAE", "FlowAE", "FlowAE (spline)"]
    assert (rows["Real data"].mean, rows["Real data"].paper) == (2.0, 0.2)
    vae = rows["VAE"]
    assert (vae.mean, vae.n, vae.fcd_ratio, vae.paper) == (11.0, 2, 5.5, 8.12)
    assert rows["FlowAE"].low is None and rows["FlowAE"].n == 1
    assert flowae_rows([]) == []
    names = [name for name, _, _ in TABLE]
    assert names == ["VAE", "AAE", "AdvAE", "FlowAE", "FlowAE (spline)"]


def _parzen(
    monkeypatch: pytest.MonkeyPatch, test: np.ndarray, folder: Path, samples: int = 20
) -> list[Row]:
    """Table rows of an untrained AAE and an untrained GAN, with 40 training and 10 held-out images
    of noise."""
    for name, value in (("TRAINED", 40), ("HELD_OUT", 10), ("FEW", 20), ("BLOCK", 8)):
        monkeypatch.setattr(parzen_table, name, value)
    rng = np.random.default_rng(0)
    splits = [
        Split(images, np.zeros(len(images), np.int64))
        for images in (rng.integers(0, 256, (50, 1, 2, 2), dtype=np.uint8), test[:6], test[6:])
    ]
    net = MLPConfig(widths=(4,), batch_norm=False)
    configs = {"aae": AAEConfig(latent_dim=2, net=net), "gan": GANConfig(latent_dim=2, net=net)}

    def model_of(tracker: object, run: StoredRun) -> Any:
        with Draw(0).as_global():
            return configs[json.loads(run.tags["cell"])["family"]].build((1, 2, 2)).eval()

    monkeypatch.setattr(parzen_table, "model_of", model_of)
    tracker: Any = None
    runs = [_run(family, 1.0)._replace(run_id=family) for family in configs]
    return parzen_table.parzen_rows(tracker, runs, Splits(*splits, ()), samples, folder)


def test_the_parzen_rows_are_log_means_of_gaussians(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Against scipy, at the sigma that the same search finds by brute force on held-out images;
    all test images count, and 20 samples in blocks of 8 are 20."""
    test = np.random.default_rng(1).integers(0, 256, (11, 1, 2, 2), dtype=np.uint8)
    model_row, gan_row, real_row, means_row = _parzen(monkeypatch, test, tmp_path)
    assert model_row.paper is None and real_row.name == "real images as samples"
    assert (model_row.name, gan_row.name) == ("AAE (20 samples)", "GAN (20 samples)")
    assert gan_row.paper is None and gan_row.mean != model_row.mean
    x = test.reshape(11, 4) / 255
    train = np.random.default_rng(0).integers(0, 256, (50, 1, 2, 2), dtype=np.uint8) / 255
    flat = train.reshape(50, 4)

    def mean(samples: np.ndarray, points: np.ndarray, sigma: float) -> float:
        logs = scipy.stats.norm(points[:, None], sigma).logpdf(samples[None]).sum(2)
        return float((scipy.special.logsumexp(logs, 1) - math.log(len(samples))).mean())

    rows = np.random.default_rng(0).permutation(40)[:20]
    sigma = max(parzen_table.SIGMAS, key=lambda s: mean(flat[rows], flat[40:], s))
    assert real_row.mean == pytest.approx(mean(flat[rows], x, sigma), rel=1e-4)
    assert np.isfinite([model_row.mean, means_row.mean]).all()


def test_the_window_is_chosen_without_the_test_images(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for value in (0, 255):
        _parzen(monkeypatch, np.full((11, 1, 2, 2), value, np.uint8), tmp_path)
    lines = capsys.readouterr().out.splitlines()
    first, second = (line for line in lines if line.startswith("AAE, seed"))
    assert first.split("sigma")[1] == second.split("sigma")[1] and first != second


def test_the_papers_values_stand_beside_the_measured_families_only_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Table 1 of Makhzani et al. 2016: with 10,000 samples the AAE has 340 and the GAN 225. What
    is not measured is printed as published."""
    test = np.random.default_rng(1).integers(0, 256, (11, 1, 2, 2), dtype=np.uint8)
    rows = _parzen(monkeypatch, test, tmp_path, samples=10_000)
    assert [row.paper for row in rows] == [340.0, 225.0, None, None]
    printed = capsys.readouterr().out.splitlines()
    published = [line for line in printed if line.startswith("published")]
    assert "published, GMMN+AE: 282 ± 2" in published
    assert not [line for line in published if ", GAN" in line or ", AAE" in line]


@pytest.mark.parametrize(
    ("family", "label"),
    [("aae", "AAE"), ("gmmn_ae", "GMMN+AE"), ("gan", "GAN"), ("gmmn", "GMMN")],
)
def test_the_models_of_the_parzen_table_are_of_their_family(family: str, label: str) -> None:
    """The names are those of the paper's rows, so a model never stands beside another's value."""
    chosen = parzen_models.MODELS[family]()
    assert chosen.model.family == label
    assert label == "GMMN" or label in parzen_table.PUBLISHED
    assert family in get_args(ParzenFamily)
