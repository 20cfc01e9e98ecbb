"""A user's own study in a folder of its own: a family, parts of models, a metric, and a script
that sweeps and searches them."""

from pathlib import Path

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

STUDY = '''
"""Models, data and samplers of my own."""

import dataclasses
import sys

from my_family import LinearConfig
from my_parts import MyDigits, MyMetric, MyNet, MyPrior, MySampler

import genae_core as genae
from genae_core import sweep
from genae_core.config.cli import cli
from genae_core.testing import tiny


@genae.register("my_linear_ae")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MyConfig(LinearConfig):
    """The family of the module beside this script, under a name of this script."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(genae.LaunchOptions):
    """The flags of this study."""

    kind: str = "grid"
    """grid or search."""
    num_trials: int = 2
    """The trials of a search."""


def experiment(cell):
    measured = cell.get("part", "others") == "others"
    base = dataclasses.replace(tiny.experiment(), metrics=(MyMetric(),) if measured else ())
    (chain,) = base.chains[:1]
    part = cell.get("part", "model")
    if part == "model":
        model = MyConfig(latent_dim=cell["latent_dim"])
        return dataclasses.replace(base, model=model, chains=(chain,))
    vae = genae.VAEConfig(latent_dim=2)
    if part == "others":
        vae = genae.VAEConfig(latent_dim=2, net=MyNet(), prior=MyPrior())
        chain = dataclasses.replace(chain, sampler=MySampler())
    return dataclasses.replace(base, data=MyDigits(), model=vae, chains=(chain,))


def suggest(trial):
    trial.suggest_int("latent_dim", 2, 5)


def grid(options):
    axes = {"part": ("model", "data", "others"), "latent_dim": (2,)}
    return genae.launch("mine", axes, experiment, options)


def search(options):
    space = sweep.SearchSpace(first={"latent_dim": 2}, suggest=suggest, experiment=experiment)
    return sweep.search("search", space, options, 5.0, options.num_trials, lambda *_: None)


def main(options):
    return grid(options) if options.kind == "grid" else search(options)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
'''

# A dataset, a prior, a sampler, a network and a metric, in a module beside the script.
PARTS = '''
"""Parts of my own."""

from dataclasses import dataclass

from torch import nn

import genae_core as genae
from genae_core.data.digits import DigitsConfig
from genae_core.priors.normal import IsotropicNormal
from genae_core.samplers.base import chain_at, start_latents


@genae.register("lab.digits")
@dataclass(frozen=True, kw_only=True)
class MyDigits:
    name = "my_digits"
    shape = (1, 8, 8)
    binarize: bool = False

    def stamp(self):
        return DigitsConfig().stamp()

    def source(self):
        return DigitsConfig().source()


@genae.register("lab.prior")
@dataclass(frozen=True, kw_only=True)
class MyPrior:
    def build(self, latent_dim, host=None):
        return IsotropicNormal(latent_dim)


@genae.register("lab.net")
@dataclass(frozen=True, kw_only=True)
class MyNet:
    def build_encoder(self, shape, out_dim):
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], out_dim))

    def build_decoder(self, in_dim, shape):
        size = shape[0] * shape[1] * shape[2]
        return nn.Sequential(nn.Linear(in_dim, size), nn.Unflatten(1, shape))


@genae.register("lab.sampler")
@dataclass(frozen=True, kw_only=True)
class MySampler:
    starts_from = "prior"
    couples = True

    def init(self, model, start, draw):
        return chain_at(model, start_latents(model, start, draw), "mean", draw)

    def step(self, model, chain, draw):
        return chain_at(model, model.encode(chain.x).sample(draw), "mean", draw)


@genae.register("lab.metric")
@dataclass(frozen=True, kw_only=True)
class MyMetric:
    name = "brightness"
    better = "higher"

    def measure(self, generated, real, draw):
        return generated.mean()
'''


def write_lab(folder: Path) -> None:
    """Write the script `my_study.py` and the modules beside it."""
    (folder / "my_family.py").write_text(FAMILY)
    (folder / "my_parts.py").write_text(PARTS)
    (folder / "my_study.py").write_text(STUDY)
