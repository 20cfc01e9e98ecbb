"""The grid of architectures and losses, from stored values."""

import json

import pytest

from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.robustness_table import (
    ROBUSTNESS_GRID,
    print_robustness,
    robustness_experiment,
    robustness_rows,
)
from genae_core.samplers.ancestral import Ancestral
from genae_core.tracking.mlflow_store import StoredRun


def _run(architecture: str, family: str, seed: int, fcd: float | None) -> StoredRun:
    """A run; without an FCD it has failed."""
    tags = {
        "cell": json.dumps({"architecture": architecture, "family": family}),
        "seed": str(seed),
    }
    if fcd is None:
        return StoredRun("id", "FAILED", tags, {}, {}, {})
    return StoredRun("id", "FINISHED", tags, {}, {"fcd_step0": fcd}, {})


RUNS = [
    _run("DCGAN", "gan", 0, 90.0),
    _run("DCGAN", "gan", 1, 110.0),
    _run("DCGAN", "wgan_gp", 0, 1000.0),
    _run("tanh", "gan", 0, 299.0),  # not above 3 times the mean of the baseline
    _run("tanh", "gan", 1, 301.0),
    _run("tanh", "wgan_gp", 0, 301.0),  # its own baseline is 1000
    _run("no BN", "gan", 0, None),
    _run("no BN", "gan", 0, 80.0),  # a later attempt of the same seed
    _run("no BN", "gan", 1, None),
]


def test_failures_are_relative_to_the_baseline_of_the_same_loss() -> None:
    rows = {(row.architecture, row.loss): row for row in robustness_rows(RUNS)}
    failed = {place: (row.failed, row.n) for place, row in rows.items()}
    assert failed == {
        ("DCGAN", "GAN"): (0, 2),
        ("DCGAN", "WGAN-GP"): (0, 1),
        ("tanh", "GAN"): (1, 2),
        ("tanh", "WGAN-GP"): (0, 1),
        ("no BN", "GAN"): (1, 2),
    }
    assert rows["no BN", "GAN"].fcd == [80]
    assert robustness_rows([]) == []


def test_the_printed_grid(capsys: pytest.CaptureFixture[str]) -> None:
    print_robustness(robustness_rows(RUNS), [])
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].split() == ["GAN", "LSGAN", "WGAN", "WGAN-GP"]
    tanh = next(line for line in lines if line.strip().startswith("tanh"))
    assert tanh.split() == "tanh 300.0, 1 of 2 failed - - 301.0".split()


@pytest.mark.parametrize("family", ROBUSTNESS_GRID["family"])
@pytest.mark.parametrize("architecture", ROBUSTNESS_GRID["architecture"])
def test_every_cell_of_the_grid_can_be_built(architecture: str, family: str) -> None:
    study = StudyOptions(smoke=True)
    chain = dataset_recipe(study).chain(sampler=Ancestral(), record=(0,))
    experiment = robustness_experiment(
        study, {"architecture": architecture, "family": family}, chain
    )
    assert experiment.count_weights() > 0
    assert experiment.training is not None and experiment.training.epochs == 3
    net, critic = (getattr(experiment.model, name) for name in ("net", "critic"))
    assert isinstance(net, MLPConfig) == (architecture == "MLP 4 x 512 in G")
    assert isinstance(critic, DCGANConfig)
    assert critic.batch_norm == (family != "wgan_gp" and architecture != "no BN")
