"""The table that paper_tables.py makes of the runs it reads back."""

import json
import math
import sys
from pathlib import Path

import pytest

from genae_core.tracking import Curve

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sweeps"))

import paper_tables  # noqa: E402


def _run(family: str, fcd: float, status: str = "FINISHED") -> Curve:
    tags = {"cell": json.dumps({"family": family}), "seed": "0"}
    return Curve("id", status, tags, {}, {"fcd_step0": fcd, "fcd_floor": 2.0}, {})


def test_the_interval_is_students() -> None:
    """Of 1, 2, 3: mean 2, sd 1, and t_{0.975, 2} = 4.3027."""
    mean, low, high = paper_tables.interval([1.0, 2.0, 3.0])
    assert low is not None and high is not None
    assert mean == 2 and high - mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert mean - low == pytest.approx(high - mean)
    assert paper_tables.interval([5.0]) == (5.0, None, None)


def test_rows_are_named_as_in_the_paper_and_count_finished_runs() -> None:
    runs = [
        *(_run("vae", fcd) for fcd in (10.0, 12.0)),
        _run("vae", 1e6, "FAILED"),
        _run("flow_ae", 4.0),
        _run("flow_ae_spline", 3.0),
    ]
    rows = {row.name: row for row in paper_tables.rows_of(runs)}
    assert list(rows) == ["Real data", "VAE", "FlowAE", "FlowAE (spline)"]
    assert (rows["Real data"].mean, rows["Real data"].paper) == (2.0, 0.2)
    vae = rows["VAE"]
    assert (vae.mean, vae.n, vae.fcd_ratio, vae.paper) == (11.0, 2, 5.5, 8.12)
    assert rows["FlowAE"].low is None and rows["FlowAE"].n == 1
    assert paper_tables.rows_of([]) == []
    names = [name for name, _, _ in paper_tables.TABLE]
    assert names == ["VAE", "AAE", "AdvAE", "FlowAE", "FlowAE (spline)"]
