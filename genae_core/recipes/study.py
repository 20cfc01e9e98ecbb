"""The experiment of one cell of a study, from the study's flags and the dataset's recipe."""

from collections.abc import Sequence
from dataclasses import replace

from genae_core.config import require
from genae_core.experiment.experiment import Experiment
from genae_core.nets.base import NetConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.families import FAMILIES, Parts, family_config
from genae_core.recipes.family_settings import describe_settings, settings_by_family
from genae_core.recipes.options import NOISE, StudyOptions
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.config import ChainConfig

# The training of generators on small grey images: 12 epochs of 60,000 are 11,250 steps.
GENERATOR_BATCH, GENERATOR_EPOCHS = 64, 12


def study_parts(options: StudyOptions, family: str) -> Parts:
    """The parts that the flags and the dataset's recipe give to a family.

    Args:
        options: The study's flags.
        family: The family's name in FAMILIES, one of --families.

    Returns:
        The parts for `family_config`.

    Raises:
        ValueError: The flags do not fit the dataset or the family.
    """
    recipe = dataset_recipe(options)
    net = recipe.net
    if options.net is not None:
        net = _chosen_net(options.net, net)
    if options.net_width is not None:
        require(
            isinstance(net, DCGANConfig),
            f"--net-width is only for DCGANs, and {options.dataset} is trained with an MLP; "
            "--net dcgan changes that",
            net_width=options.net_width,
        )
        net = DCGANConfig(width=options.net_width)
    noise = NOISE if options.noise is None else options.noise
    return Parts(
        net=net,
        critic=recipe.critic,
        optimizer=recipe.optimizer,
        learning_rate=options.learning_rate,
        noise=noise if FAMILIES[family].noise == "needed" else 0.0,
        settings=settings_by_family(options.assignments, options.families).get(family, {}),
    )


def _chosen_net(kind: str, net: NetConfig) -> NetConfig:
    """The networks of --net: those of the dataset's recipe if they are of this kind."""
    chosen = {"mlp": MLPConfig, "dcgan": DCGANConfig}[kind]
    return net if isinstance(net, chosen) else chosen()


def study_experiment(
    options: StudyOptions,
    family: str,
    latent_dim: int,
    chains: tuple[ChainConfig, ...],
    parts: Parts | None = None,
) -> Experiment:
    """The experiment of one cell of a study.

    Args:
        options: The study's flags.
        family: The family's name in FAMILIES.
        latent_dim: The dimension of the latent codes.
        chains: The configs of the chains that run over the trained model. A family without an
            encoder has no chain; draws from its prior take their place.
        parts: The parts of the family; None takes those of `study_parts`.

    Returns:
        The experiment.

    Raises:
        ValueError: A config refuses a value.
    """
    recipe = dataset_recipe(options)
    training = recipe.training
    if options.epochs is not None:
        training = replace(training, epochs=options.epochs)
    return Experiment(
        data=recipe.data,
        model=family_config(family, latent_dim, parts or study_parts(options, family)),
        training=training,
        chains=chains if FAMILIES[family].encoder else draws_like(chains),
        classifier=recipe.classifier,
    )


def image_space_experiment(
    options: StudyOptions,
    family: str,
    latent_dim: int,
    chains: tuple[ChainConfig, ...],
    parts: Parts | None = None,
) -> Experiment:
    """The experiment of a cell of a study of generators, which need many steps.

    The recipe of small grey images suits likelihoods, which learn from 2,400 steps. GANs have
    only begun then, so the batches are smaller and the epochs are more. The other recipes have
    small batches and more epochs already.

    Args:
        options: The study's flags.
        family: The family's name in FAMILIES.
        latent_dim: The dimension of the latent codes.
        chains: The configs of the chains; draws from the prior for a family without an encoder.
        parts: The parts of the family; None takes those of `study_parts`.
    """
    experiment = study_experiment(options, family, latent_dim, chains, parts)
    training = experiment.training
    assert training is not None
    if training.batch_size > GENERATOR_BATCH:
        epochs = training.epochs if options.smoke or options.epochs else GENERATOR_EPOCHS
        training = replace(training, batch_size=GENERATOR_BATCH, epochs=epochs)
    return replace(experiment, training=training)


def draws_like(chains: Sequence[ChainConfig]) -> tuple[ChainConfig, ...]:
    """Draws from the prior in as many chains and with the same normalisation as these chains."""
    draws = (
        replace(chain, sampler=Ancestral(), fitted_prior=None, record=(0,)) for chain in chains
    )
    return tuple(dict.fromkeys(draws))


def print_settings(options: StudyOptions) -> None:
    """Print which of the chosen families take each setting of --set, and which have no chain.

    Args:
        options: The study's flags.
    """
    for line in describe_settings(options.assignments, options.families):
        print(line)
    alone = [family for family in options.families if not FAMILIES[family].encoder]
    if alone:
        print(
            f"chain:  n/a for {', '.join(alone)}, which have no encoder: their samples are draws "
            "from the prior (step 0)"
        )
