"""The experiments of the models that a paper's claims are about."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from genae_core.experiment.experiment import Experiment
from genae_core.nets.base import NetConfig
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.families import FAMILIES, PriorName
from genae_core.recipes.figure_models import figure_experiment
from genae_core.recipes.options import Figure, StudyOptions
from genae_core.recipes.study import image_space_experiment, study_experiment, study_parts
from genae_core.samplers.config import ChainConfig


@dataclass(frozen=True, kw_only=True)
class ClaimModel:
    """A model that a claim is about.

    Args:
        family: Its family's name in FAMILIES.
        settings: Values of the family's settings, by dotted name.
        prior: The name of the prior; None is the family's default.
        net: The encoder and the decoder; None are those of the dataset's recipe.
        latent_dim: The dimension of its codes, whatever the other models have; None takes theirs.
        figure: The figure of Makhzani et al. that shows the model, if there is one. Its settings
            are then those of the figure.
    """

    family: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    prior: PriorName | None = None
    net: NetConfig | None = None
    latent_dim: int | None = None
    figure: Figure | None = None


def claim_experiment(
    options: StudyOptions, model: ClaimModel, latent_dim: int, chain: ChainConfig
) -> Experiment:
    """The experiment of a model that a claim is about.

    Args:
        options: The study's flags. Values of --set win over those of the model.
        model: The model.
        latent_dim: The dimension of the codes of models that have none of their own.
        chain: The chain, or the draws, whose samples are measured.

    Raises:
        ValueError: A config refuses a value.
    """
    if model.figure is not None:
        recipe = dataset_recipe(options)
        return figure_experiment(model.figure, options.dataset, recipe, options.epochs)
    parts = study_parts(options, model.family)
    parts = replace(
        parts,
        prior=model.prior,
        net=model.net or parts.net,
        settings={**model.settings, **parts.settings},
    )
    dim = latent_dim if model.latent_dim is None else model.latent_dim
    in_image_space = FAMILIES[model.family].in_image_space
    make = image_space_experiment if in_image_space else study_experiment
    return make(options, model.family, dim, (chain,), parts)
