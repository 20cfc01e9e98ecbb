"""The map of the families, from stored values."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.recipes.map_table import draw_samples, map_rows, print_map
from genae_core.report.plots import MapPoint, draw_map
from genae_core.tracking.mlflow_store import StoredRun


def _run(family: str, seed: int, fcds: tuple[float, ...], recalls: tuple[float, ...]) -> StoredRun:
    """A finished run, whose chain is best at the last of the steps 0, 1, ..."""
    cell = json.dumps({"family": family})
    tags = {"cell": cell, "seed": str(seed), "family": family.upper(), "chain": "draws"}
    tags["key"] = f"{family}{seed}"
    scalars = {
        "fcd_step0": fcds[0],
        "fcd_best": fcds[-1],
        "fcd_best_step": float(len(fcds) - 1),
        "training_seconds": 2.0 + seed,
    }
    chain = {"recall": dict(enumerate(recalls)), "parzen": {0: 100.0}}
    return StoredRun(f"{family}{seed}", "FINISHED", tags, {}, scalars, chain)


def _failed(family: str, key: str) -> StoredRun:
    tags = {"cell": json.dumps({"family": family}), "seed": "1", "key": key}
    return StoredRun(key, "FAILED", tags, {}, {}, {})


RUNS = [
    _run("vae", 0, (220.0, 130.0), (0.5, 0.6)),
    _run("vae", 1, (240.0, 110.0), (0.7, 0.8)),
    _run("gan", 0, (150.0,), (0.04,)),
    _failed("gan", "gan1"),
    _failed("vae", "vae1"),  # an earlier attempt of a seed that has a result
]


def test_rows_have_the_chain_where_there_is_one_and_count_failures() -> None:
    gan, vae = map_rows(RUNS)
    assert (gan.name, gan.fcd, gan.recall) == ("gan", [150], [0.04])
    assert gan.best is None and gan.best_step is None and gan.best_recall is None
    assert (gan.failed, gan.collapsed) == (1, 1)
    assert (vae.fcd, vae.best, vae.best_step) == ([220, 240], [130, 110], 1)
    assert (vae.recall, vae.best_recall) == ([0.5, 0.7], [0.6, 0.8])
    assert (vae.failed, vae.collapsed, vae.seconds) == (0, 0, [2, 3])
    assert map_rows([]) == []


def test_the_printed_map(capsys: pytest.CaptureFixture[str]) -> None:
    print_map(map_rows(RUNS), [])
    head, _, gan, vae, below = capsys.readouterr().out.strip().splitlines()
    assert gan.split() == "GAN 1 150.0 n/a n/a 0.040 100.0 2 1 1".split()
    assert vae.split()[:8] == "VAE 2 230.0 ± 14.1 120.0 ± 14.1".split()
    assert "collapsed: seeds with a recall below 0.05" in below and "failed" in head


@pytest.mark.slow  # matplotlib
def test_the_picture_shows_every_family(tmp_path: Path) -> None:
    model = VAEConfig(latent_dim=2, net=MLPConfig(widths=(4,))).build((1, 8, 8)).eval()
    samples = draw_samples(model)
    assert samples.dtype == np.uint8 and samples.shape[2] == 3
    points = [
        MapPoint(f"family {n}", 100.0 * 2**n, 0.1 * n, (50.0, 0.9) if n else None, n > 1, samples)
        for n in range(3)
    ]
    draw_map(points, tmp_path / "map.png")
    assert np.asarray(Image.open(tmp_path / "map.png").convert("L")).std() > 0
