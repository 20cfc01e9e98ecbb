"""The table of families: the config of each family, and the priors and the noise that it takes.

Flags and the categories of a search are plain text, so families and priors have names here. To add
a family, write its file under models/ and its test, and add one row to FAMILIES: the flags, the
studies, the search and the tests read the row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

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
from genae_core.recipes.settings import replace_settings

PriorName = Literal["normal", "uniform", "ring", "swiss_roll", "flow", "vamp"]

PRIORS: dict[PriorName, Callable[[], PriorConfig]] = {
    "normal": NormalPriorConfig,
    "uniform": UniformPriorConfig,
    "ring": RingPriorConfig,
    "swiss_roll": SwissRollPriorConfig,
    "flow": FlowPriorConfig,
    "vamp": VampPriorConfig,
}
# A KL divergence needs a prior with a density above 0 everywhere.
KL_PRIORS: tuple[PriorName, ...] = ("normal", "ring", "flow", "vamp")
# A divergence between samples needs a prior that training does not change.
SAMPLE_PRIORS: tuple[PriorName, ...] = ("normal", "uniform", "ring", "swiss_roll")


class Range(NamedTuple):
    """The values of a setting that search.py proposes, uniform in the logarithm.

    Attributes:
        low: The smallest value.
        high: The largest value.
        name: The name of the setting in stored searches; None is the setting's own name.
    """

    low: float
    high: float
    name: str | None = None


BETA = Range(0.1, 2.0)
WAE_WEIGHT = Range(1.0, 1000.0, name="wae_weight")


@dataclass(frozen=True, kw_only=True)
class Family:
    """A row of the table.

    Args:
        config: The config's class, or a function that makes the config. A family with one stage
            takes latent_dim, net and optimizer. A family with two stages takes an autoencoder.
        two_stage: Whether a second stage fits a distribution to the codes of an autoencoder.
        priors: The names of the priors that the family takes, the default one first. Empty if the
            family has no prior to choose.
        noise: Whether the family corrupts its input. "needed": --noise sets the corruption.
            "allowed": there is none unless a study varies the noise.
        critic: Whether the dataset's recipe chooses the critic.
        settings: The values of the config's fields that differ from the config's defaults.
        unused: The config's fields that have no effect in this family.
        searched: The settings that search.py varies, in addition to the latent dimension, the
            learning rate, the prior and the noise.
    """

    config: Callable[..., ModelConfig]
    two_stage: bool = False
    priors: tuple[PriorName, ...] = ()
    noise: Literal["none", "allowed", "needed"] = "none"
    critic: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    searched: Mapping[str, Range] = field(default_factory=dict)


FAMILIES: dict[str, Family] = {
    "vae": Family(config=VAEConfig, priors=KL_PRIORS, noise="allowed", searched={"beta": BETA}),
    "dvae": Family(config=VAEConfig, priors=KL_PRIORS, noise="needed", searched={"beta": BETA}),
    "aae": Family(config=AAEConfig, priors=SAMPLE_PRIORS, noise="allowed", critic=True),
    "daae": Family(config=AAEConfig, priors=SAMPLE_PRIORS, noise="needed", critic=True),
    "wae_mmd": Family(
        config=WAEConfig,
        priors=SAMPLE_PRIORS,
        noise="allowed",
        settings={"divergence": MMD()},
        unused=("critic", "adversarial_optimizer"),
        searched={"weight": WAE_WEIGHT},
    ),
    "wae_gan": Family(
        config=WAEConfig,
        priors=SAMPLE_PRIORS,
        noise="allowed",
        critic=True,
        settings={"divergence": FDivergence()},
        searched={"weight": WAE_WEIGHT},
    ),
    "flow_ae": Family(config=FlowAEConfig, two_stage=True),
    "flow_ae_spline": Family(
        config=FlowAEConfig,
        two_stage=True,
        settings={"flow": FlowConfig(kind="spline", transforms=3)},
    ),
    "adv_ae": Family(config=AdvAEConfig, two_stage=True),
    "gmmn_ae": Family(config=GMMNAEConfig, two_stage=True),
    "ex_post_ae": Family(config=ExPostAEConfig, two_stage=True),
}
PAPER = ("vae", "dvae", "aae", "daae")  # the families of Creswell et al. 2017


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts that a study gives to its families. A family ignores the parts that it lacks.

    Args:
        net: The encoder and the decoder.
        critic: The critic of adversarial families.
        optimizer: Adam for the reconstruction or the ELBO.
        noise: The standard deviation of the corruption.
        prior: The name of the prior; None is the family's default.
        settings: Values of the family's own settings, by dotted name.
    """

    net: NetConfig
    critic: CriticConfig
    optimizer: AdamConfig
    noise: float = 0.0
    prior: PriorName | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def family_config(name: str, latent_dim: int, parts: Parts) -> ModelConfig:
    """The config of a family, made of the parts that it takes.

    Args:
        name: The family's name in FAMILIES.
        latent_dim: The dimension of the latent codes.
        parts: The parts that the study gives to its families.

    Returns:
        The config.

    Raises:
        ValueError: The table has no such family, the family does not take these parts, or the
            config refuses a value.
    """
    require(name in FAMILIES, f"the families are {', '.join(FAMILIES)}", family=name)
    family = FAMILIES[name]
    require(
        family.noise != "needed" or parts.noise > 0, f"{name} needs --noise > 0", noise=parts.noise
    )
    priors = family.priors or ("normal",)
    prior = parts.prior or priors[0]
    require(prior in priors, f"{name} takes the prior {' or '.join(priors)}", prior=prior)
    values = {**family.settings, **shared_fields(family, latent_dim, parts, prior)}
    if family.critic:
        values["critic"] = parts.critic
    return replace_settings(family.config(**values), parts.settings)


def shared_fields(
    family: Family, latent_dim: int, parts: Parts, prior: PriorName = "normal"
) -> dict[str, Any]:
    """The fields of the family's config that flags or axes of a study set."""
    base: dict[str, Any] = {
        "latent_dim": latent_dim,
        "net": parts.net,
        "optimizer": parts.optimizer,
    }
    if family.two_stage:
        return {"autoencoder": AEConfig(**base)}
    noise = {} if family.noise == "none" else {"noise": parts.noise}
    return {**base, **noise, **({"prior": PRIORS[prior]()} if family.priors else {})}


def families_that_need_noise() -> tuple[str, ...]:
    """The names of the families that take the flag --noise."""
    return tuple(name for name, family in FAMILIES.items() if family.noise == "needed")
