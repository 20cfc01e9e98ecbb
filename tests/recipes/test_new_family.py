"""A family that a user adds: its file, a test of three lines, and one row of the table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from contracts.databases import new_store
from running import ONE, ROOT, client_of, environment, trials_of

pytestmark = pytest.mark.slow

FAMILY = '''
"""A regularised autoencoder: the squared error of the pixels and a penalty on the codes."""

from dataclasses import dataclass, field

from genae_core.config import register, require_finite, require_positive_int
from genae_core.distributions.base import Delta
from genae_core.models.base import Autoencoder, Phase, Player, Stage, add_noise
from genae_core.models.optimizers import AdamConfig
from genae_core.models.config import ModelConfig
from genae_core.models.likelihoods import GaussianPixels
from genae_core.nets.base import NetConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.base import PriorConfig
from genae_core.priors.normal import NormalPriorConfig


@register("tests.mine")
@dataclass(frozen=True, kw_only=True)
class MineConfig(ModelConfig):
    latent_dim: int
    noise: float = 0.0
    code_weight: float = 0.01
    net: NetConfig = field(default_factory=MLPConfig)
    prior: PriorConfig = field(default_factory=NormalPriorConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self):
        require_positive_int(latent_dim=self.latent_dim)
        require_finite(0, noise=self.noise, code_weight=self.code_weight)

    def build(self, shape):
        return Mine(self, shape)


class Mine(Autoencoder):
    def __init__(self, config, shape):
        super().__init__()
        self.config, self.latent_dim = config, config.latent_dim
        self.encoder = config.net.build_encoder(shape, config.latent_dim)
        self.decoder = config.net.build_decoder(config.latent_dim, shape)
        self.prior = config.prior.build(config.latent_dim)

    def latent_prior(self):
        return self.prior

    def encode(self, x):
        return Delta(self.encoder(x))

    def decode(self, z):
        return GaussianPixels(sd=1.0).distribution(self.decoder(z))

    def corrupt(self, x, draw):
        return add_noise(x, self.config.noise, draw)

    def stages(self):
        player = Player("autoencoder", list(self.parameters()), self.config.optimizer)
        return (Stage("autoencoder", (Phase(player, penalised_error),)),)


def penalised_error(model, batch, draw):
    z = model.encode(model.corrupt(batch.x, draw)).mean
    error = (model.decode(z).mean - batch.x).square().flatten(1).sum(1).mean()
    penalty = z.square().sum(1).mean()
    return error + model.config.code_weight * penalty, {"error": error, "penalty": penalty}
'''
CONTRACT = """
from mine import MineConfig
from genae_core.testing import ModelContract


class TestMine(ModelContract):
    config = MineConfig(latent_dim=3)
"""
# Runs several studies, whose flags are separated by "+", with the family in the table.
STUDIES = """
import runpy, sys
from pathlib import Path
from mine import MineConfig
from genae_core.recipes.families import FAMILIES, Family, Range

FAMILIES["mine"] = Family(
    config=MineConfig,
    priors=("normal", "ring"),
    noise="allowed",
    searched={"code_weight": Range(0.001, 0.1)},
)

if __name__ == "__main__":
    sweeps, *words = sys.argv[1:]
    for study in " ".join(words).split(" + "):
        sys.argv = study.split()
        print("STUDY", flush=True)
        try:
            runpy.run_path(str(Path(sweeps) / sys.argv[0]), run_name="__main__")
        except SystemExit as ended:
            print("exit code", ended.code, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that a user would write."""
    for name, text in (("mine", FAMILY), ("test_mine", CONTRACT), ("studies", STUDIES)):
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def run_python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    places = os.pathsep.join(filter(None, [str(folder), str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *words],
        env={**environment(folder), "PYTHONPATH": places},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_its_contract_is_three_lines(folder: Path) -> None:
    done = run_python(folder, "-m", "pytest", "-q", "test_mine.py", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_row_puts_it_into_every_study(folder: Path) -> None:
    studies = (
        "model_family.py --print",
        "prior_type.py --families vae mine --print",
        "noise_level.py --families mine --print",
        "search.py --families mine --print",
        "search.py --families mine --set code_weight=0.05 --print",
        "latent_dim.py --families vae mine --set code_weight=0.05 --print",
        "latent_dim.py --families mine --noise 0.3 --print",
        "model_family.py --families mine --latent-dims 3 --smoke --epochs 1 "
        f"--set code_weight=0.05 --name mine {' '.join(ONE)}",
    )
    new_store(folder)
    words = ("studies.py", str(ROOT / "sweeps"), " + ".join(studies))
    done = run_python(folder, *words)
    assert done.returncode == 0, done.stderr
    outputs = done.stdout.split("STUDY\n")[1:]
    family, prior, noise, search, fixed, latent_dim, refused, trained = outputs
    assert "mine latent_dim=10" in family and "vae latent_dim=10" in family
    assert "mine prior=normal" in prior and "mine prior=ring" in prior
    assert "mine prior=vamp" not in prior and "vae prior=vamp" in prior
    assert "mine noise=0.25" in noise
    assert "mine code_weight=0.01 latent_dim=10 learning_rate=0.001" in search
    assert "prior of normal or ring=normal" in search
    assert "code_weight=0.01" not in fixed and "set:    code_weight=0.05 for mine" in fixed
    assert "set:    code_weight=0.05 for mine (not a setting of vae)" in latent_dim
    assert refused == "exit code 2\n" and "--noise is only for dvae, daae" in done.stderr
    assert trained.endswith("exit code 0\n"), trained + done.stderr
    client = client_of(folder)
    experiment = client.get_experiment_by_name("model_family")
    assert experiment is not None
    (run,) = trials_of(client, experiment.experiment_id)
    assert run.info.status == "FINISHED" and run.data.tags["family"] == "Mine"
    assert run.data.params["model.code_weight"] == "0.05"
