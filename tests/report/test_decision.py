"""What a sweep has decided is in its summary run, from which the page takes it."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from contracts.databases import new_store
from contracts.pages import data_of

from genae_core.data import sealed
from genae_core.report.decision import SETTLED, Decision, parse_decision
from genae_core.report.summary_run import publish
from genae_core.tracking.mlflow_store import Tracker

CELL = '{"family": "vae", "latent_dim": 2}'
CURVE = {"step": [0, 5], "fcd": [9.0, 4.0]}


def log_run(tracker: Tracker, folder: Path, seed: int) -> None:
    """A finished run as a trial leaves it, as far as the page reads it."""
    tags = {"sweep": "s", "cell": CELL, "chain": "encode decode, batch BN", "seed": str(seed)}
    tags |= {"family": "VAE", "latent_dim": "2"}
    run = tracker.start(f"key{seed}", f"run {seed}", tags, {}, 1).run_id
    scalars = {"fcd_step0": 9.0, "fcd_best": 4.0, "fcd_best_step": 5.0, "fcd_floor": 1.0}
    tracker.log_scalars(run, {**scalars, "fcd_val_best": 4.0})
    path = folder / "curve.json"
    path.write_text(json.dumps(CURVE))
    tracker.log_files(run, path)
    tracker.finish(run)


@pytest.mark.slow
def test_the_decision_is_in_the_summary_run_and_on_the_page(tmp_path: Path) -> None:
    tracker = Tracker.create(new_store(tmp_path), "study", tmp_path / "artifacts")
    folder = tmp_path / "sweep"
    folder.mkdir()
    log_run(tracker, tmp_path, seed=0)
    decision = Decision(0.9, 0.5, settled=True, over=True, leader=CELL, seeds=3, trials=6)
    sealed.write(folder / SETTLED, asdict(decision))
    said: list[str] = []
    publish(tracker, "s", folder, said.append)
    assert not [line for line in said if "warning" in line]
    (summary,) = tracker.find(summary="s")
    tags = summary.data.tags
    assert (tags["question"], tags["settled"], tags["confidence"]) == ("best-cell", "yes", "0.9")
    assert tags["decision"].startswith("settled with 90 % confidence: vae latent_dim=2 has")
    assert summary.data.metrics["settling_trials"] == 6 and summary.info.status == "FINISHED"
    stored = tracker.fetch(summary.info.run_id, SETTLED, tmp_path).read_bytes()
    assert parse_decision(stored) == decision
    page = data_of((folder / "explorer.html").read_text())
    (scale,) = page["scales"]
    assert any(
        "Settled with 90 % confidence: VAE with latent dimension 2 has the lowest FCD" in finding
        for finding in scale["findings"]
    )
    decision.settled = False  # it is resumed with another question, which stays open
    sealed.write(folder / SETTLED, asdict(decision))
    publish(tracker, "s", folder, said.append)
    (scale,) = data_of((folder / "explorer.html").read_text())["scales"]
    assert any("Not settled with 90 % confidence" in finding for finding in scale["findings"])
    assert tracker.find(summary="s")[0].data.tags["settled"] == "no"


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"confidence": 1}'])
def test_a_damaged_decision_is_none(text: bytes) -> None:
    assert parse_decision(text) is None
