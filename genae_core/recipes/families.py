"""Every family and prior by the name that flags and Optuna's categories have for it.

A dict of names lives in sweeps/ because these are primitives; genae_core maps no names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from genae_core.config import require
from genae_core.divergences.f_divergence import FDivergence
from genae_core.divergences.mmd import MMD
from genae_core.models.aae import AAEConfig
from genae_core.models.adv_ae import AdvAEConfig
from genae_core.models.ae import AEConfig
from genae_core.models.base import AdamConfig
from genae_core.models.config import ModelConfig
from genae_core.models.ex_post_ae import ExPostAEConfig
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.models.gmmn_ae import GMMNAEConfig
from genae_core.models.vae import VAEConfig
from genae_core.models.wae import WAEConfig
from genae_core.nets.base import NetConfig
from genae_core.nets.mlp import CriticConfig
from genae_core.priors.base import PriorConfig
from genae_core.priors.flow import FlowConfig, FlowPriorConfig
from genae_core.priors.mixture import RingPriorConfig
from genae_core.priors.normal import NormalPriorConfig
from genae_core.priors.swiss_roll import SwissRollPriorConfig
from genae_core.priors.uniform import UniformPriorConfig
from genae_core.priors.vamp import VampPriorConfig

Family = Literal[
    "vae",
    "dvae",
    "aae",
    "daae",
    "wae_mmd",
    "wae_gan",
    "flow_ae",
    "flow_ae_spline",
    "adv_ae",
    "gmmn_ae",
    "ex_post_ae",
]
PriorName = Literal["normal", "uniform", "ring", "swiss_roll", "flow", "vamp"]

PRIORS: dict[PriorName, Callable[[], PriorConfig]] = {
    "normal": NormalPriorConfig,
    "uniform": UniformPriorConfig,
    "ring": RingPriorConfig,
    "swiss_roll": SwissRollPriorConfig,
    "flow": FlowPriorConfig,
    "vamp": VampPriorConfig,
}
DENOISING = ("dvae", "daae")
WITH_NOISE = ("vae", "dvae", "aae", "daae", "wae_mmd", "wae_gan")
# A KL needs a density above 0 everywhere; what compares samples needs a prior that stays.
TAKES: dict[str, tuple[PriorName, ...]] = {
    **dict.fromkeys(("vae", "dvae"), ("normal", "ring", "flow", "vamp")),
    **dict.fromkeys(
        ("aae", "daae", "wae_mmd", "wae_gan"), ("normal", "uniform", "ring", "swiss_roll")
    ),
}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the families of a study share.

    noise: the standard deviation of the corruption, of dvae and daae alone unless a study gives
    it to others. weight: lambda of a WAE. beta: of a VAE.
    """

    net: NetConfig
    critic: CriticConfig
    optimizer: AdamConfig
    noise: float = 0.0
    prior: PriorName = "normal"
    beta: float = 1.0
    wae_weight: float = 100.0
    code_epochs: int | None = None


def model(family: str, latent_dim: int, parts: Parts) -> ModelConfig:
    """The family's config. Raises ValueError for parts that it does not take."""
    require(
        family not in DENOISING or parts.noise > 0,
        f"{family} needs --noise > 0",
        noise=parts.noise,
    )
    require(
        parts.prior in TAKES.get(family, ("normal",)),
        f"{family} takes the prior {' or '.join(TAKES.get(family, ('its own',)))}",
        prior=parts.prior,
    )
    shared: dict[str, Any] = {
        "latent_dim": latent_dim,
        "net": parts.net,
        "optimizer": parts.optimizer,
    }
    own = {**shared, "noise": parts.noise, "prior": PRIORS[parts.prior]()}
    if family in ("vae", "dvae"):
        return VAEConfig(**own, beta=parts.beta)
    if family in ("aae", "daae"):
        return AAEConfig(**own, critic=parts.critic)
    if family == "wae_mmd":
        return WAEConfig(**own, divergence=MMD(), weight=parts.wae_weight)
    if family == "wae_gan":
        return WAEConfig(
            **own, divergence=FDivergence(), weight=parts.wae_weight, critic=parts.critic
        )
    two: dict[str, Any] = {"autoencoder": AEConfig(**shared), "epochs": parts.code_epochs}
    if family == "flow_ae":
        return FlowAEConfig(**two)
    if family == "flow_ae_spline":
        return FlowAEConfig(**two, flow=FlowConfig(kind="spline", transforms=3))
    if family == "adv_ae":
        return AdvAEConfig(**two)
    if family == "gmmn_ae":
        return GMMNAEConfig(**two)
    require(family == "ex_post_ae", "no such family", family=family)
    return ExPostAEConfig(autoencoder=AEConfig(**shared))
