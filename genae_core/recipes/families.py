"""The table of families: the config of each family, and the priors and the noise that it takes.

Flags and the categories of a search are plain text, so families and priors have names here. To add
a family, write its file under models/ and its test, and add one row to FAMILIES: the flags, the
studies, the search and the tests read the row.

The help of every study lists the families, so this module imports no model: the functions in the
table import a config's class when they are called.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from genae_core import divergences, models, priors
from genae_core.config import require
from genae_core.recipes.settings import replace_settings

if TYPE_CHECKING:
    from genae_core.divergences import Divergence
    from genae_core.models import ModelConfig, OptimizerConfig
    from genae_core.nets import CriticConfig, NetConfig
    from genae_core.priors import PriorConfig

PriorName = Literal["normal", "uniform", "ring", "swiss_roll", "flow", "vamp"]

PRIORS: dict[PriorName, Callable[[], "PriorConfig"]] = {
    "normal": lambda: priors.NormalPriorConfig(),
    "uniform": lambda: priors.UniformPriorConfig(),
    "ring": lambda: priors.RingPriorConfig(),
    "swiss_roll": lambda: priors.SwissRollPriorConfig(),
    "flow": lambda: priors.FlowPriorConfig(),
    "vamp": lambda: priors.VampPriorConfig(),
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


LATENT_DIMS = (4, 64)  # the latent dimensions that search.py proposes
LEARNING_RATES = Range(5e-4, 5e-3)
GAN_LEARNING_RATES = Range(1e-4, 2e-3, name="learning rate of a GAN")
DROPOUT = 0.3  # of an MLP as a critic: without it, the critic is too far ahead of the generator
AVERAGE = 0.99  # the decay of the moving average of a generator's weights
BETA = Range(0.1, 2.0)
WAE_WEIGHT = Range(1.0, 1000.0, name="wae_weight")


@dataclass(frozen=True, kw_only=True)
class Family:
    """A row of the table.

    Args:
        config: The config's class, or a function that makes the config. A family with one stage
            takes latent_dim, net and optimizer. A family with two stages takes an autoencoder.
        encoder: Whether the family has an encoder. Without one there is no chain, and the samples
            of a trial are draws from the prior.
        in_image_space: Whether the family is a generator that is judged by the images it makes.
        optimizer: Makes the family's own optimiser, with which it is trained instead of the
            dataset's. --learning-rate changes its learning rate.
        two_stage: Whether a second stage fits a distribution to the codes of an autoencoder.
        priors: The names of the priors that the family takes, the default one first. Empty if the
            family has no prior to choose.
        noise: Whether the family corrupts its input. "needed": --noise sets the corruption.
            "allowed": there is none unless a study varies the noise.
        critic: Whether the dataset's recipe chooses the critic.
        smallest_latent_dim: The smallest latent dimension that the family takes with its default
            settings.
        unused: The config's fields that have no effect in this family.
        learning_rates: The learning rates that search.py proposes.
        searched: The settings that search.py varies, in addition to the latent dimension, the
            learning rate, the prior and the noise.
    """

    config: Callable[..., "ModelConfig"]
    encoder: bool = True
    in_image_space: bool = False
    optimizer: "Callable[[], OptimizerConfig] | None" = None
    two_stage: bool = False
    priors: tuple[PriorName, ...] = ()
    noise: Literal["none", "allowed", "needed"] = "none"
    critic: bool = False
    smallest_latent_dim: int = 1
    unused: tuple[str, ...] = ()
    learning_rates: Range = LEARNING_RATES
    searched: Mapping[str, Range] = field(default_factory=dict)


def _vae(**values: Any) -> "ModelConfig":
    return models.VAEConfig(**values)


def _adam(
    learning_rate: float, beta1: float, beta2: float = 0.999
) -> Callable[[], "OptimizerConfig"]:
    return lambda: models.AdamConfig(learning_rate=learning_rate, beta1=beta1, beta2=beta2)


def _aae(**values: Any) -> "ModelConfig":
    return models.AAEConfig(**values)


def _image_space(
    config: Callable[..., "ModelConfig"],
    optimizer: Callable[[], "OptimizerConfig"],
    encoder: bool = False,
    unused: tuple[str, ...] = (),
    learning_rates: Range = GAN_LEARNING_RATES,
) -> Family:
    """The row of a family in image space."""
    return Family(
        config=config,
        encoder=encoder,
        in_image_space=True,
        optimizer=optimizer,
        priors=SAMPLE_PRIORS,
        learning_rates=learning_rates,
        unused=unused,
    )


def _gan(
    divergence: "Callable[[], Divergence]",
    optimizer: Callable[[], "OptimizerConfig"],
    unused: tuple[str, ...] = (),
    dropout: float = 0.0,
) -> Family:
    """The row of a `GANConfig` with this divergence; dropout: of the critic, if it is an MLP."""

    def config(**values: Any) -> "ModelConfig":
        chosen = divergence()
        # A DCGAN without batch normalisation in its critic does not train, but for a gradient
        # penalty.
        penalised = divergences.has_gradient_penalty(chosen)
        critic = models.critic_like(values["net"], batch_norm=not penalised, dropout=dropout)
        return models.GANConfig(divergence=chosen, critic=critic, average=AVERAGE, **values)

    return _image_space(config, optimizer, unused=unused)


def _eb_gan(**values: Any) -> "ModelConfig":
    return models.EBGANConfig(critic=models.critic_like(values["net"], batch_norm=True), **values)


def _began(**values: Any) -> "ModelConfig":
    critic = models.critic_like(values["net"], batch_norm=True)
    # With equal rates the critic follows the generator, which stays with a few images.
    optimizer: Any = values["optimizer"]
    slower = replace(optimizer, learning_rate=optimizer.learning_rate / 4)
    return models.BEGANConfig(critic=critic, critic_optimizer=slower, **values)


def _mmd_gan(**values: Any) -> "ModelConfig":
    critic = models.critic_like(values["net"])
    return models.MMDGANConfig(critic=critic, critic_steps=2, average=AVERAGE, **values)


def _bigan(**values: Any) -> "ModelConfig":
    critic = models.critic_like(values["net"], dropout=DROPOUT)
    return models.BiGANConfig(critic=critic, **values)


def _info_gan(**values: Any) -> "ModelConfig":
    critic = models.critic_like(values["net"], batch_norm=True)
    return models.InfoGANConfig(critic=critic, **values)


FAMILIES: dict[str, Family] = {
    "vae": Family(config=_vae, priors=KL_PRIORS, noise="allowed", searched={"beta": BETA}),
    "dvae": Family(config=_vae, priors=KL_PRIORS, noise="needed", searched={"beta": BETA}),
    "aae": Family(config=_aae, priors=SAMPLE_PRIORS, noise="allowed", critic=True),
    "daae": Family(config=_aae, priors=SAMPLE_PRIORS, noise="needed", critic=True),
    "wae_mmd": Family(
        config=lambda **values: models.WAEConfig(divergence=divergences.MMD(), **values),
        priors=SAMPLE_PRIORS,
        noise="allowed",
        unused=("critic", "adversarial_optimizer"),
        searched={"weight": WAE_WEIGHT},
    ),
    "wae_gan": Family(
        config=lambda **values: models.WAEConfig(divergence=divergences.FDivergence(), **values),
        priors=SAMPLE_PRIORS,
        noise="allowed",
        critic=True,
        searched={"weight": WAE_WEIGHT},
    ),
    "flow_ae": Family(config=lambda **values: models.FlowAEConfig(**values), two_stage=True),
    "flow_ae_spline": Family(
        config=lambda **values: models.FlowAEConfig(
            flow=priors.FlowConfig(kind="spline", transforms=3), **values
        ),
        two_stage=True,
    ),
    "adv_ae": Family(config=lambda **values: models.AdvAEConfig(**values), two_stage=True),
    "gmmn_ae": Family(config=lambda **values: models.GMMNAEConfig(**values), two_stage=True),
    "ex_post_ae": Family(config=lambda **values: models.ExPostAEConfig(**values), two_stage=True),
    "gan": _gan(lambda: divergences.FDivergence(), _adam(1e-3, 0.5), dropout=DROPOUT),
    "f_gan": _gan(lambda: divergences.FDivergence(kind="kl"), _adam(1e-3, 0.5), dropout=DROPOUT),
    "ls_gan": _gan(lambda: divergences.LeastSquares(), _adam(1e-3, 0.5), dropout=DROPOUT),
    "wgan": _gan(
        lambda: divergences.Wasserstein(constraint="clip"),
        lambda: models.RMSPropConfig(learning_rate=5e-4),
    ),
    # Two steps of the critic in place of the paper's five: twice as many steps in the same time.
    "wgan_gp": _gan(lambda: divergences.Wasserstein(critic_steps=2), _adam(5e-4, 0.0, 0.9)),
    "gmmn": _gan(
        lambda: divergences.MMD(kernel="rbf", bandwidth=0.25, estimator="biased", root=True),
        _adam(1e-3, 0.9),
        unused=("critic", "critic_optimizer"),
    ),
    "eb_gan": _image_space(_eb_gan, _adam(1e-3, 0.5), learning_rates=LEARNING_RATES),
    "began": _image_space(_began, _adam(2e-3, 0.5), learning_rates=LEARNING_RATES),
    "mmd_gan": _image_space(_mmd_gan, _adam(5e-4, 0.0, 0.9)),
    "bigan": _image_space(_bigan, _adam(1e-3, 0.5), encoder=True),
    "info_gan": Family(
        config=_info_gan,
        encoder=False,
        in_image_space=True,
        optimizer=_adam(1e-3, 0.5),
        smallest_latent_dim=13,  # ten classes, two continuous codes, and noise
    ),
}
PAPER = ("vae", "dvae", "aae", "daae")  # the families of Creswell et al. 2017


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts that a study gives to its families. A family ignores the parts that it lacks.

    Args:
        net: The encoder and the decoder.
        critic: The critic of adversarial families.
        optimizer: Adam for the reconstruction or the ELBO.
        learning_rate: The learning rate that the user or a search has chosen; None is that of the
            optimiser.
        noise: The standard deviation of the corruption.
        prior: The name of the prior; None is the family's default.
        settings: Values of the family's own settings, by dotted name.
    """

    net: "NetConfig"
    critic: "CriticConfig"
    optimizer: "OptimizerConfig"
    learning_rate: float | None = None
    noise: float = 0.0
    prior: PriorName | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def family_config(name: str, latent_dim: int, parts: Parts) -> "ModelConfig":
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
    choices = family.priors or ("normal",)
    prior = parts.prior or choices[0]
    require(prior in choices, f"{name} takes the prior {' or '.join(choices)}", prior=prior)
    values = shared_fields(family, latent_dim, parts, prior)
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
        "optimizer": optimizer_of(family, parts),
    }
    if family.two_stage:
        return {"autoencoder": models.AEConfig(**base)}
    noise = {} if family.noise == "none" else {"noise": parts.noise}
    return {**base, **noise, **({"prior": PRIORS[prior]()} if family.priors else {})}


def optimizer_of(family: Family, parts: Parts) -> "OptimizerConfig":
    """The family's optimiser: its own or the dataset's, with the chosen learning rate."""
    optimizer: Any = parts.optimizer if family.optimizer is None else family.optimizer()
    if parts.learning_rate is not None:
        optimizer = replace(optimizer, learning_rate=parts.learning_rate)
    chosen: OptimizerConfig = optimizer
    return chosen


def families_with_encoder() -> tuple[str, ...]:
    """The names of the families that have a chain."""
    return tuple(name for name, family in FAMILIES.items() if family.encoder)


def families_in_image_space() -> tuple[str, ...]:
    """The names of the families whose generator is judged by the images it makes."""
    return tuple(name for name, family in FAMILIES.items() if family.in_image_space)


def families_to_search() -> tuple[str, ...]:
    """The names of the families that take every latent dimension that a search proposes."""
    rows = FAMILIES.items()
    return tuple(name for name, row in rows if row.smallest_latent_dim <= LATENT_DIMS[0])


def families_that_need_noise() -> tuple[str, ...]:
    """The names of the families that take the flag --noise."""
    return tuple(name for name, family in FAMILIES.items() if family.noise == "needed")
