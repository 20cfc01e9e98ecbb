"""The contract suites are used outside of this repository, with pytest and without the optional
libraries."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FAMILY = '''
"""A family of one's own: a denoising autoencoder of two linear layers."""

from dataclasses import dataclass

from torch import Tensor, nn

from genae_core import AdamConfig, Draw, register
from genae_core.config import require_finite, require_positive_int
from genae_core.distributions import Bernoulli, Delta
from genae_core.models import Autoencoder, Batch, Phase, Player, Stage, add_noise
from genae_core.priors import IsotropicNormal


@register("linear_ae")
@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    latent_dim: int
    noise: float = 0.0
    optimizer: AdamConfig = AdamConfig(learning_rate=1e-2)
    num_classes: int = 0

    def __post_init__(self) -> None:
        require_positive_int(latent_dim=self.latent_dim)
        require_finite(0, noise=self.noise)

    @property
    def family(self) -> str:
        return "LinearAE"

    def build(self, shape: tuple[int, int, int]) -> "Linear":
        return Linear(self, shape)


class Linear(Autoencoder):
    def __init__(self, config: LinearConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config, self.latent_dim = config, config.latent_dim
        pixels = shape[0] * shape[1] * shape[2]
        self.prior = IsotropicNormal(config.latent_dim)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, config.latent_dim))
        self.decoder = nn.Sequential(nn.Linear(config.latent_dim, pixels), nn.Unflatten(1, shape))

    def latent_prior(self) -> IsotropicNormal:
        return self.prior

    def encode(self, x: Tensor) -> Delta:
        return Delta(self.encoder(x))

    def decode(self, z: Tensor) -> Bernoulli:
        return Bernoulli(self.decoder(z))

    def corrupt(self, x: Tensor, draw: Draw) -> Tensor:
        return add_noise(x, self.config.noise, draw)

    def stages(self) -> tuple[Stage, ...]:
        player = Player("autoencoder", list(self.parameters()), self.config.optimizer)
        return (Stage("autoencoder", (Phase(player, loss),)),)


def loss(model: Linear, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
    z = model.encode(model.corrupt(batch.x, draw)).sample(draw)
    value = -model.decode(z).log_prob(batch.x).flatten(1).sum(1).mean()
    return value, {"reconstruction": value}
'''

TEST = """
from my_family import LinearConfig

from genae_core.testing import ModelContract


class TestLinear(ModelContract):
    config = LinearConfig(latent_dim=3, noise=0.2)
    noise = NOISE
"""

# The optional libraries cannot be imported, as if they were not installed.
CONFTEST = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ray", "mlflow", "optuna", "matplotlib", "tyro", "torchvision"):
            raise ModuleNotFoundError("blocked: " + name, name=name)


sys.meta_path.insert(0, Blocker())
"""


def run_contract(folder: Path, noise: float, *flags: str) -> subprocess.CompletedProcess[str]:
    (folder / "my_family.py").write_text(FAMILY)
    (folder / "test_my_family.py").write_text(TEST.replace("NOISE", str(noise)))
    (folder / "conftest.py").write_text(CONFTEST)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *flags],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_a_family_of_ones_own_passes_the_contract(tmp_path: Path) -> None:
    done = run_contract(tmp_path, noise=0.2)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 20 and "skipped" not in done.stdout


@pytest.mark.slow
def test_a_broken_contract_is_reported_with_the_values(tmp_path: Path) -> None:
    """The asserts of the suite are rewritten by pytest, although they lie in a library."""
    done = run_contract(tmp_path, 0.5, "-k", "corruption")
    assert done.returncode == 1
    assert "1 failed" in done.stdout and "assert tensor(" in done.stdout, done.stdout


@pytest.mark.parametrize("name", ["ModelContract", "PriorContract", "SamplerContract"])
def test_the_package_explains_each_contract(name: str) -> None:
    import genae_core.testing as testing

    assert f"`{name}`" in (testing.__doc__ or "")
    assert "Attributes:" in (getattr(testing, name).__doc__ or "")
